package telemetry

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// unknown stands for a figure that an endpoint did not give; loadgen.Known turns
// it into a null.
var unknown = math.NaN()

// serverReading is one answer of the server's metrics endpoint.
type serverReading struct {
	source   string // the dialect's name, "unknown" where no known name is present
	gauges   map[gauge]float64
	counters map[counter]map[string]float64 // by series: the labels in order
	started  float64                        // process_start_time_seconds, NaN where absent
}

// unrecognised is the source of an endpoint that speaks no known dialect.
const unrecognised = "unknown"

// readServer reads the server's own metrics.
func readServer(body []byte) (serverReading, error) {
	samples, err := parse(body, serverNames)
	if err != nil {
		return serverReading{}, err
	}
	byName := make(map[string]map[string]float64) // name -> series -> value
	for i := range samples {
		s := &samples[i]
		name := canonical(s.name)
		if name == nameCacheConfig {
			if s.value = kvTokens(s); math.IsNaN(s.value) {
				continue
			}
		}
		if byName[name] == nil {
			byName[name] = make(map[string]float64)
		}
		key := s.series()
		// The ranks of one engine repeat its figures: one of them counts.
		if v, seen := byName[name][key]; !seen || s.value > v {
			byName[name][key] = s.value
		}
	}
	r := serverReading{
		source:   unrecognised,
		gauges:   make(map[gauge]float64),
		counters: make(map[counter]map[string]float64),
		started:  largest(byName[nameProcessStart]),
	}
	if v, ok := byName[nameResident]; ok {
		r.gauges[resident] = sum(v)
	}
	sumUpSlots(byName)
	sumUpPrompts(byName)
	if d := recognise(byName); d != nil {
		r.take(d, byName)
	}
	return r, nil
}

// take fills in the figures that the dialect names.
func (r *serverReading) take(d *dialect, byName map[string]map[string]float64) {
	r.source = d.name
	for g, names := range d.gauges {
		series, ok := first(byName, names)
		if !ok {
			continue
		}
		switch g {
		case kvCache: // requests are preempted where an engine is full, not where the mean is
			r.gauges[g] = largest(series)
		case prefixRate:
			r.gauges[g] = sum(series) / float64(len(series))
		default:
			r.gauges[g] = sum(series)
		}
	}
	for c, names := range d.counters {
		if series, ok := first(byName, names); ok {
			r.counters[c] = series
		}
	}
}

// kvTokens reads what a KV cache holds off the labels of vLLM's cache_config_info;
// NaN where they do not say. An engine with several kinds of layers holds fewer
// tokens than its blocks would; newer ones say how many.
func kvTokens(s *sample) float64 {
	number := func(label string) float64 {
		v, err := strconv.ParseFloat(s.label(label), 64)
		if err != nil || !(v > 0) { // "None" before the engine is up
			return unknown
		}
		return v
	}
	if v := number("kv_cache_size_tokens"); !math.IsNaN(v) {
		return v
	}
	return number("num_gpu_blocks") * number("block_size")
}

// tellable is up to how many decodes llama.cpp's figures of them are used: it
// prints six digits, which beyond that do not tell one scrape from the next.
const tellable = 1e6

// slotNoise is the share by which a sum of busy slots may shrink and is still
// taken to go on: it is made of two rounded numbers. After a restart it is far
// less than before, unless there was next to nothing before.
const slotNoise = 0.5

// sumUpSlots turns llama.cpp's mean of busy slots, which is one over all decodes
// since its start and after an hour hardly moves, into the sum behind it: its
// growth over that of the decodes is the mean of a window.
func sumUpSlots(byName map[string]map[string]float64) {
	decodes, ok := byName[nameDecodes]
	for key, mean := range byName[nameBusySlots] {
		if !ok || decodes[key] > tellable {
			delete(byName, nameBusySlots)
			delete(byName, nameDecodes)
			return
		}
		byName[nameBusySlots][key] = mean * decodes[key]
	}
}

// sumUpPrompts makes llama.cpp's prompt tokens, computed and cached, the number of
// which some were found in the cache.
func sumUpPrompts(byName map[string]map[string]float64) {
	for key, cached := range byName[nameCached] {
		if computed, ok := byName[nameComputed][key]; ok {
			byName[nameOffered] = map[string]float64{key: computed + cached}
		}
	}
}

// recognise returns the dialect with most of its names present, nil for none.
func recognise(byName map[string]map[string]float64) *dialect {
	var best *dialect
	most := 0
	for i := range dialects {
		n := 0
		for _, names := range dialects[i].gauges {
			if _, ok := first(byName, names); ok {
				n++
			}
		}
		for _, names := range dialects[i].counters {
			if _, ok := first(byName, names); ok {
				n++
			}
		}
		if n > most {
			best, most = &dialects[i], n
		}
	}
	return best
}

// first returns the series of the first name that is present.
func first(byName map[string]map[string]float64, names []string) (map[string]float64, bool) {
	for _, n := range names {
		if series, ok := byName[n]; ok {
			return series, true
		}
	}
	return nil, false
}

// rankLabels tell apart the workers of one engine, each of which reports the
// whole engine. The data-parallel rank is not among them: those add up.
var rankLabels = set("tp_rank", "pp_rank", "moe_ep_rank")

// series returns the labels in order, as a key; ranks left out.
func (s *sample) series() string {
	pairs := make([]string, 0, len(s.labels))
	for _, l := range s.labels {
		if !rankLabels[l.name] {
			pairs = append(pairs, l.name+"\x00"+l.value)
		}
	}
	slices.Sort(pairs)
	return strings.Join(pairs, "\x01")
}

// gpuReading is one answer of a DCGM exporter.
type gpuReading struct {
	gauges map[gauge]float64
	xid    map[string]float64 // last error code by GPU; 0 is none
}

// readGPU reads a DCGM exporter: memory of the fullest GPU as used / (used +
// free), mean shares of time, summed power.
func readGPU(body []byte) (gpuReading, error) {
	samples, err := parse(body, gpuNames)
	if err != nil {
		return gpuReading{}, err
	}
	byName := make(map[string]map[string]float64)
	xid := make(map[string]float64)
	for i := range samples {
		s := &samples[i]
		if byName[s.name] == nil {
			byName[s.name] = make(map[string]float64)
		}
		byName[s.name][s.series()] = s.value
		if s.name == nameXID {
			gpu := s.label("gpu")
			xid[gpu] = math.Max(xid[gpu], s.value)
		}
	}
	r := gpuReading{gauges: make(map[gauge]float64), xid: xid}
	for key, used := range byName[nameFBUsed] {
		if free, ok := byName[nameFBFree][key]; ok && used+free > 0 {
			r.gauges[gpuMemory] = math.Max(r.gauges[gpuMemory], used/(used+free))
		}
	}
	for _, x := range []struct {
		into gauge
		name string
		full float64
	}{
		{gpuUtil, nameGPUUtil, 100},
		{gpuMemoryBusy, nameGPUMemoryBusy, 100},
		{gpuBandwidth, nameGPUBandwidth, 1},
		{gpuTensor, nameGPUTensor, 1},
	} {
		if series := byName[x.name]; len(series) > 0 {
			r.gauges[x.into] = sum(series) / float64(len(series)) / x.full
		}
	}
	if power := byName[nameGPUPower]; len(power) > 0 {
		r.gauges[gpuPower] = sum(power)
	}
	return r, nil
}

// nodeReading is one answer of a node exporter.
type nodeReading struct {
	busy, all float64 // CPU seconds since boot, all CPUs together
	memory    float64 // share of 1, NaN where absent
}

// readNode reads a node exporter. Waiting for a disk is idle time of the CPU, as
// it is for the kernel.
func readNode(body []byte) (nodeReading, error) {
	samples, err := parse(body, nodeNames)
	if err != nil {
		return nodeReading{}, err
	}
	r := nodeReading{memory: unknown}
	available, size := unknown, unknown
	for i := range samples {
		s := &samples[i]
		switch s.name {
		case nameNodeCPU:
			r.all += s.value
			if mode := s.label("mode"); mode != "idle" && mode != "iowait" {
				r.busy += s.value
			}
		case nameMemAvailable:
			available = s.value
		case nameMemTotal:
			size = s.value
		}
	}
	if size > 0 {
		r.memory = 1 - available/size
	}
	return r, nil
}

// cpuShare returns the share of CPU time spent busy between two readings; NaN
// where there is none to compare, or the host was restarted in between.
func (r nodeReading) cpuShare(before nodeReading) float64 {
	all, busy := r.all-before.all, r.busy-before.busy
	if before.all == 0 || all <= 0 || busy < 0 {
		return unknown
	}
	return math.Min(busy/all, 1)
}

func sum(series map[string]float64) float64 {
	var s float64
	for _, v := range series {
		s += v
	}
	return s
}

// largest returns the largest value, NaN for none.
func largest(series map[string]float64) float64 {
	m := unknown
	for _, v := range series {
		if !(v <= m) { // also where m is NaN
			m = v
		}
	}
	return m
}
