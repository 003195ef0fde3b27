package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/internal/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	serverURL = "http://server.test/metrics"
	gpuURL    = "http://gpu.test/metrics"
	nodeURL   = "http://node.test/metrics"
)

// fake serves scripted bodies by URL; a missing body is a refused connection.
type fake struct {
	mu    sync.Mutex
	body  map[string]string
	delay time.Duration
	late  bool // the answer is what it is at the end of the delay, not at its beginning
	calls map[string]int
}

func (f *fake) set(url, body string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.body == nil {
		f.body = map[string]string{}
	}
	f.body[url] = body
}

func (f *fake) fetch(ctx context.Context, url string) ([]byte, error) {
	f.mu.Lock()
	body, ok := f.body[url]
	delay := f.delay
	if f.calls == nil {
		f.calls = map[string]int{}
	}
	f.calls[url]++
	f.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if f.late {
		f.mu.Lock()
		body, ok = f.body[url]
		f.mu.Unlock()
	}
	if !ok || body == "" {
		return nil, errors.New("connection refused")
	}
	return []byte(body), nil
}

// asked returns how often an address was asked.
func (f *fake) asked(url string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[url]
}

// watch runs a Scraper in the bubble until the test ends.
type watch struct {
	*telemetry.Scraper
	*fake
	points  bytes.Buffer
	notices []string
	stop    func()
}

func start(t *testing.T, cfg telemetry.Config, f *fake) *watch {
	t.Helper()
	w := &watch{fake: f}
	cfg.Fetch = f.fetch
	cfg.Points = &w.points
	cfg.Notice = func(text string) { w.notices = append(w.notices, text) }
	s, err := telemetry.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	w.Scraper = s
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	w.stop = func() { cancel(); <-done }
	t.Cleanup(w.stop)
	synctest.Wait()
	return w
}

func fixture(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func want(t *testing.T, name string, got analysis.Number, value float64) {
	t.Helper()
	v, ok := got.Value()
	if !ok || v < value-1e-9 || v > value+1e-9 {
		t.Errorf("%s = %v, want %v", name, got, value)
	}
}

func wantUnknown(t *testing.T, name string, got analysis.Number) {
	t.Helper()
	if got.IsKnown() {
		t.Errorf("%s = %v, want unknown", name, got)
	}
}

func TestDialects(t *testing.T) {
	for _, tc := range []struct {
		file                 string
		source               string
		running, waiting, kv float64 // kv -1: unknown
		capacity             float64 // likewise
		preemptions          float64 // likewise, in the jsonl: growth since the first scrape
	}{
		{"vllm.txt", "vllm", 64, 36, 0.41, 27000*16 + 400000, 0},
		{"vllm_old.txt", "vllm", 8, 0, 0.971, -1, 0},
		{"sglang.txt", "sglang", 16, 2, 0.33, 471258, 0},
		{"tgi.txt", "tgi", 32, 7, -1, -1, -1},
		{"llamacpp.txt", "llamacpp", 4, 46, -1, -1, -1},
	} {
		t.Run(tc.file, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := time.Now()
				f := &fake{}
				f.set(serverURL, fixture(t, tc.file))
				w := start(t, telemetry.Config{ServerURL: serverURL}, f)
				time.Sleep(3500 * time.Millisecond)
				got, ok := w.Window(from, time.Now())
				if !ok || got.Source != tc.source || got.Scrapes != 5 { // at 0, 1, 2, 3 s and one asked for
					t.Fatalf("ok %v, source %q, scrapes %d", ok, got.Source, got.Scrapes)
				}
				want(t, "running", got.RunningMean, tc.running)
				want(t, "running max", got.RunningMax, tc.running)
				want(t, "waiting", got.WaitingMax, tc.waiting)
				if tc.kv < 0 {
					wantUnknown(t, "kv", got.KVCacheMax)
				} else {
					want(t, "kv", got.KVCacheMax, tc.kv)
				}
				if tc.capacity < 0 {
					wantUnknown(t, "KV capacity", got.KVCapacity)
				} else {
					want(t, "KV capacity", got.KVCapacity, tc.capacity)
				}
				if tc.preemptions < 0 {
					wantUnknown(t, "preemptions", got.Preemptions)
				} else {
					want(t, "preemptions", got.Preemptions, tc.preemptions)
				}
				wantUnknown(t, "host CPU", got.HostCPUMean)
				wantUnknown(t, "server TTFT without any request", got.ServerTTFTMean)
				wantUnknown(t, "batch without any pass", got.BatchMean)
				if tc.source == "sglang" {
					want(t, "output rate", got.OutputRateMean, 86.5)
				} else {
					wantUnknown(t, "output rate", got.OutputRateMean)
				}
				if tc.source == "tgi" {
					want(t, "batch tokens", got.BatchTokensMax, 20480)
				} else {
					wantUnknown(t, "batch tokens", got.BatchTokensMax)
				}
				if got.WentAway || len(w.notices) > 0 {
					t.Errorf("went away %v, notices %q", got.WentAway, w.notices)
				}
			})
		})
	}
}

// vllm writes a vLLM answer with the given counters.
func vllm(preemptions, queries, hits, ttftSum, ttftCount, queueSum float64) string {
	return fmt.Sprintf(`vllm:num_requests_running{engine="0"} 5
vllm:num_requests_waiting{engine="0"} 0
vllm:num_preemptions_total{engine="0"} %g
vllm:prefix_cache_queries_total{engine="0"} %g
vllm:prefix_cache_hits_total{engine="0"} %g
vllm:time_to_first_token_seconds_sum{engine="0"} %g
vllm:time_to_first_token_seconds_count{engine="0"} %g
vllm:request_queue_time_seconds_sum{engine="0"} %g
vllm:request_queue_time_seconds_count{engine="0"} %g
vllm:generation_tokens_total{engine="0"} %g
`, preemptions, queries, hits, ttftSum, ttftCount, queueSum, ttftCount, ttftCount*100)
}

// TestPromptsOfLlamaCpp: its counter of prompt tokens leaves out the cached ones.
func TestPromptsOfLlamaCpp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const text = "llamacpp:prompt_tokens_total %d\nllamacpp:prompt_tokens_cached_total %d\nllamacpp:requests_processing 1\n"
		from, f := time.Now(), &fake{}
		f.set(serverURL, fmt.Sprintf(text, 1000, 5000))
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		time.Sleep(500 * time.Millisecond)
		f.set(serverURL, fmt.Sprintf(text, 1300, 5100))
		time.Sleep(time.Second)
		got, _ := w.Window(from, time.Now())
		want(t, "prompt tokens", got.PromptTokens, 300)
		want(t, "prefix hit rate", got.PrefixHitRate, 0.25)
	})
}

func TestCountersAreDifferencesAroundTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.set(serverURL, vllm(100, 1000, 900, 10, 50, 1)) // what was before does not count
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		time.Sleep(2500 * time.Millisecond)
		from := time.Now()
		f.set(serverURL, vllm(103, 3000, 1000, 16, 70, 2))
		time.Sleep(3 * time.Second)
		to := time.Now()
		time.Sleep(1500 * time.Millisecond) // one scrape after the window
		f.set(serverURL, vllm(999, 9000, 9000, 99, 99, 99))
		time.Sleep(5 * time.Second)
		got, ok := w.Window(from, to)
		if !ok {
			t.Fatal("nothing seen")
		}
		want(t, "preemptions", got.Preemptions, 3)
		want(t, "prefix hit rate", got.PrefixHitRate, 100.0/2000)
		want(t, "server TTFT", got.ServerTTFTMean, 6.0/20)
		want(t, "server queue", got.ServerQueueMean, 1.0/20)
		want(t, "generation tokens", got.GenerationTokens, 2000)
		wantUnknown(t, "prompt tokens", got.PromptTokens)
	})
}

// TestPassesOfTheModel holds what is made of two counters against the figures of
// the window alone: what a server did before it must not weigh in.
func TestPassesOfTheModel(t *testing.T) {
	const head = "vllm:num_requests_running 1\n"
	vllm := func(prefill, prefilled, tokens, passes float64) string {
		return head + fmt.Sprintf(`vllm:request_prefill_time_seconds_sum{engine="0"} %g
vllm:request_prefill_time_seconds_count{engine="0"} %g
vllm:iteration_tokens_total_sum{engine="0"} %g
vllm:iteration_tokens_total_count{engine="0"} %g
`, prefill, prefilled, tokens, passes)
	}
	// llama.cpp prints six digits of a mean over all decodes since it started.
	llama := func(mean string, decodes int) string {
		return fmt.Sprintf("llamacpp:requests_processing 4\nllamacpp:n_decode_total %d\nllamacpp:n_busy_slots_per_decode %s\n", decodes, mean)
	}
	for _, tc := range []struct {
		name                   string
		scrapes                []string
		prefill, tokens, batch float64 // -1: unknown
	}{
		{"vllm", []string{vllm(40, 100, 9000, 100), vllm(46, 120, 13000, 140)}, 0.3, 100, -1},
		{"llama.cpp", []string{llama("1.5", 1000), llama("1.75", 1200), llama("2.0625", 1600)}, -1, -1, 3},
		// 3.99999 x 900,001 is less than 4 x 900,000: nothing has restarted.
		{"rounded", []string{llama("4", 900_000), llama("3.99999", 900_001), llama("4", 900_500)}, -1, -1, 4},
		{"restarted", []string{llama("1", 1000), llama("4", 100)}, -1, -1, 4},
		{"beyond six digits", []string{llama("3.9", 1_200_000), llama("3.91", 1_210_000)}, -1, -1, -1},
		{"no decodes", []string{head, "llamacpp:requests_processing 4\nllamacpp:n_busy_slots_per_decode 3\n"}, -1, -1, -1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := time.Now()
				f := &fake{}
				f.set(serverURL, tc.scrapes[0])
				w := start(t, telemetry.Config{ServerURL: serverURL}, f)
				time.Sleep(500 * time.Millisecond)
				for _, text := range tc.scrapes[1:] {
					f.set(serverURL, text)
					time.Sleep(time.Second)
				}
				got, ok := w.Window(from, time.Now())
				if !ok {
					t.Fatalf("nothing seen: %q", w.notices)
				}
				for _, x := range []struct {
					name string
					got  analysis.Number
					want float64
				}{{"prefill", got.ServerPrefillMean, tc.prefill}, {"tokens a pass", got.PassTokensMean, tc.tokens}, {"batch", got.BatchMean, tc.batch}} {
					if x.want < 0 {
						wantUnknown(t, x.name, x.got)
					} else if v, ok := x.got.Value(); !ok || math.Abs(v/x.want-1) > 0.002 {
						t.Errorf("%s = %v, want %v", x.name, x.got, x.want)
					}
				}
			})
		})
	}
}

// TestShortLoadIsSeen begins loads that are over before the next regular scrape:
// the gauges are known all the same, in every window that leaves out a tenth of
// the load at either end.
func TestShortLoadIsSeen(t *testing.T) {
	for _, length := range []time.Duration{60 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, 900 * time.Millisecond} {
		t.Run(length.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := &fake{}
				f.set(serverURL, "vllm:num_requests_running 0\n")
				f.set(gpuURL, fixture(t, "dcgm.txt"))
				w := start(t, telemetry.Config{ServerURL: serverURL, GPUURL: gpuURL}, f)
				time.Sleep(50 * time.Millisecond)
				w.Begin()
				from := time.Now()
				f.set(serverURL, "vllm:num_requests_running 7\n")
				time.Sleep(length)
				f.set(serverURL, "vllm:num_requests_running 0\n")
				time.Sleep(time.Nanosecond)
				got, ok := w.Window(from.Add(length/10), from.Add(length-length/10))
				if !ok {
					t.Fatal("nothing seen")
				}
				want(t, "running", got.RunningMean, 7)
				want(t, "GPU util", got.GPUUtilMean, 0.94)
			})
		})
	}
}

// TestCloseScrapesCostLittle loads a server for long: what is asked on top of the
// regular scrapes is bounded, spares what does not answer, and counts by the time
// it stands for.
func TestCloseScrapesCostLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.set(serverURL, "vllm:num_requests_running 100\n")
		f.set(nodeURL, fixture(t, "node.txt"))
		w := start(t, telemetry.Config{ServerURL: serverURL, GPUURL: gpuURL, NodeURL: nodeURL}, f)
		time.Sleep(5500 * time.Millisecond)
		before := map[string]int{serverURL: f.asked(serverURL), gpuURL: f.asked(gpuURL), nodeURL: f.asked(nodeURL)}
		w.Begin()
		from := time.Now()
		f.set(serverURL, "vllm:num_requests_running 60\n")
		time.Sleep(500 * time.Millisecond)
		f.set(serverURL, "vllm:num_requests_running 10\n")
		time.Sleep(9500 * time.Millisecond)
		got, _ := w.Window(from, time.Now())
		// Half a second of 60 and nine and a half of 10 make 12.5, as far as scrapes
		// a second apart can tell.
		if v, ok := got.RunningMean.Value(); !ok || v < 11 || v > 15 {
			t.Errorf("running mean %v, want about 12.5", got.RunningMean)
		}
		w.stop()
		if n := f.asked(serverURL) - before[serverURL]; n < 10+4 || n > 10+7 {
			t.Errorf("the server was asked %d times in ten seconds, want 10 and half a dozen", n)
		}
		if n := f.asked(nodeURL) - before[nodeURL]; n > 11 {
			t.Errorf("the host was asked %d times in ten seconds", n)
		}
		if n := f.asked(gpuURL) - before[gpuURL]; n > 2 {
			t.Errorf("an exporter that is not there was asked %d times in ten seconds", n)
		}
	})
}

// TestIdleTimeBeforeALoadDoesNotWeigh looks at a load at 20, 60, 140 and 300 ms:
// the first look stands for 20 ms of it, and not for the idle second before.
func TestIdleTimeBeforeALoadDoesNotWeigh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.set(serverURL, "vllm:num_requests_running 0\n")
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		time.Sleep(950 * time.Millisecond)
		f.set(serverURL, "vllm:num_requests_running 30\n")
		time.Sleep(600 * time.Millisecond)
		w.Begin()
		from := time.Now()
		time.Sleep(30 * time.Millisecond)
		f.set(serverURL, "vllm:num_requests_running 15\n")
		time.Sleep(280 * time.Millisecond)
		got, _ := w.Window(from, from.Add(305*time.Millisecond))
		want(t, "running", got.RunningMean, (30*20+15*280)/300.)
	})
}

func TestKVCapacity(t *testing.T) {
	for labels, tokens := range map[string]float64{
		`block_size="16",num_gpu_blocks="100"`:                             1600,
		`block_size="16",num_gpu_blocks="100",kv_cache_size_tokens="1000"`: 1000, // layers of several kinds
		`block_size="16",num_gpu_blocks="100",kv_cache_size_tokens="None"`: 1600,
		`block_size="16",num_gpu_blocks="None"`:                            -1,
		`block_size="16",num_gpu_blocks="0"`:                               -1,
		`block_size="16",num_gpu_blocks="-1"`:                              -1,
		`block_size="Inf",num_gpu_blocks="100"`:                            -1,
		`cache_dtype="auto"`:                                               -1,
	} {
		synctest.Test(t, func(t *testing.T) {
			from := time.Now()
			f := &fake{}
			f.set(serverURL, "vllm:num_requests_running 1\nvllm:cache_config_info{"+labels+"} 1\n")
			w := start(t, telemetry.Config{ServerURL: serverURL}, f)
			time.Sleep(time.Second)
			got, _ := w.Window(from, time.Now())
			if tokens < 0 {
				wantUnknown(t, labels, got.KVCapacity)
			} else {
				want(t, labels, got.KVCapacity, tokens)
			}
		})
	}
}

// TestHostOfAShortLoad has close scrapes of the server between those of the host:
// the share of CPU time that reaches back before the window stays out.
func TestHostOfAShortLoad(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cpu := func(idle, user float64) string {
			return fmt.Sprintf("node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} %g\nnode_cpu_seconds_total{cpu=\"0\",mode=\"user\"} %g\n", idle, user)
		}
		f := &fake{}
		f.set(serverURL, "vllm:num_requests_running 1\n")
		f.set(nodeURL, cpu(100, 0))
		w := start(t, telemetry.Config{ServerURL: serverURL, NodeURL: nodeURL}, f)
		time.Sleep(500 * time.Millisecond)
		w.Begin()
		from := time.Now()
		f.set(nodeURL, cpu(101, 0)) // idle before the load
		time.Sleep(time.Second)
		f.set(nodeURL, cpu(101.1, 0.9))
		time.Sleep(time.Second)
		got, _ := w.Window(from, time.Now().Add(-time.Nanosecond))
		want(t, "host CPU", got.HostCPUMean, 0.9)
		want(t, "host CPU min", got.HostCPUMin, 0.9)
	})
}

func TestBeginWithNobodyThere(t *testing.T) {
	s, err := telemetry.New(telemetry.Config{ServerURL: serverURL})
	if err != nil {
		t.Fatal(err)
	}
	s.Begin() // before Run, and without it: returns at once
	synctest.Test(t, func(t *testing.T) {
		f := &fake{delay: time.Second}
		f.set(serverURL, "vllm:num_requests_running 1\n")
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		began := time.Now()
		for range 5 {
			w.Begin() // while a scrape is under way
		}
		if took := time.Since(began); took > 0 {
			t.Errorf("Begin waited %s", took)
		}
		w.stop()
		w.Begin()
	})
}

// A scrape that is under way as the window begins or ends may tell of either side:
// neither its count as a beginning nor as an end is to be trusted.
func TestCountersOfSlowScrapes(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			count := func(n float64) string {
				return fmt.Sprintf("vllm:num_requests_running 1\nvllm:generation_tokens_total %g\n", n)
			}
			f := &fake{delay: 400 * time.Millisecond, late: late}
			f.set(serverURL, count(1000))
			w := start(t, telemetry.Config{ServerURL: serverURL}, f)
			time.Sleep(2350 * time.Millisecond) // asked at 2 s, answered at 2.4 s, 2.2 s in the middle
			from := time.Now()
			f.set(serverURL, count(1010)) // at once
			time.Sleep(2700 * time.Millisecond)
			f.set(serverURL, count(1300))
			to := time.Now() // asked at 5 s, answered at 5.4 s
			if !late {
				time.Sleep(450 * time.Millisecond) // the window is asked for when that answer is there
			}
			got, ok := w.Window(from, to)
			if !ok {
				t.Fatal("nothing seen")
			}
			want(t, fmt.Sprintf("generation tokens, late %v", late), got.GenerationTokens, 300)
		})
	}
}

func TestCounterReset(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		f := &fake{}
		f.set(serverURL, vllm(10, 0, 0, 10, 10, 0))
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		f.set(serverURL, vllm(14, 0, 0, 12, 14, 0))
		time.Sleep(1500 * time.Millisecond)
		f.set(serverURL, vllm(2, 0, 0, 1, 2, 0)) // restarted: 2 since then
		time.Sleep(2 * time.Second)
		got, _ := w.Window(from, time.Now())
		want(t, "preemptions", got.Preemptions, 4+2)
		want(t, "server TTFT", got.ServerTTFTMean, (2.0+1.0)/(4+2))
	})
}

func TestSeriesBornLaterCountsFromZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		f := &fake{}
		f.set(serverURL, "sglang:num_running_reqs 1\nsglang:num_retracted_requests_total{dp_rank=\"0\"} 7\n")
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		f.set(serverURL, "sglang:num_running_reqs 1\nsglang:num_retracted_requests_total{dp_rank=\"0\"} 7\nsglang:num_retracted_requests_total{dp_rank=\"1\"} 4\n")
		time.Sleep(1500 * time.Millisecond)
		got, _ := w.Window(from, time.Now())
		want(t, "preemptions", got.Preemptions, 4)
	})
}

func TestGaugesOverTheWindowOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		gauge := func(v float64) string {
			return fmt.Sprintf("vllm:num_requests_running 1\nvllm:kv_cache_usage_perc %g\nprocess_resident_memory_bytes %g\n", v, v*1000)
		}
		f := &fake{}
		f.set(serverURL, gauge(0.99)) // before
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		time.Sleep(1500 * time.Millisecond)
		from := time.Now()
		for _, v := range []float64{0.2, 0.7, 0.6} {
			f.set(serverURL, gauge(v))
			time.Sleep(time.Second)
		}
		to := time.Now()
		f.set(serverURL, gauge(1)) // after
		time.Sleep(2 * time.Second)
		got, _ := w.Window(from, to)
		want(t, "kv max", got.KVCacheMax, 0.7)
		want(t, "kv mean", got.KVCacheMean, 0.5)
		want(t, "resident", got.ResidentBytes, 600)
		if got.Scrapes != 3 {
			t.Errorf("scrapes = %d, want 3", got.Scrapes)
		}
	})
}

func TestGPUAndHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.set(gpuURL, fixture(t, "dcgm.txt"))
		cpu := func(idle, user float64) string {
			return fmt.Sprintf("node_cpu_seconds_total{cpu=\"0\",mode=\"idle\"} %g\nnode_cpu_seconds_total{cpu=\"0\",mode=\"user\"} %g\n"+
				"node_memory_MemAvailable_bytes 16\nnode_memory_MemTotal_bytes 64\n", idle, user)
		}
		f.set(nodeURL, cpu(1000, 500))
		w := start(t, telemetry.Config{GPUURL: gpuURL, NodeURL: nodeURL}, f)
		time.Sleep(500 * time.Millisecond)
		from := time.Now()
		f.set(nodeURL, cpu(1000.9, 500.1)) // 10 %, partly before the window: left out
		time.Sleep(time.Second)
		f.set(nodeURL, cpu(1000.9+0.04, 500.1+0.96))
		time.Sleep(time.Second)
		f.set(nodeURL, cpu(1000.9+0.04, 500.1+0.96+1))
		time.Sleep(time.Second)
		got, ok := w.Window(from, time.Now().Add(-time.Millisecond))
		if !ok || got.Source != "" {
			t.Fatalf("ok %v, source %q", ok, got.Source)
		}
		want(t, "GPU memory", got.GPUMemoryMax, 0.95)
		want(t, "GPU util", got.GPUUtilMean, 0.94)
		want(t, "GPU memory busy", got.GPUMemoryBusyMean, 0.58)
		want(t, "GPU bandwidth", got.GPUBandwidthMean, 0.87)
		want(t, "GPU tensor", got.GPUTensorMean, 0.12)
		want(t, "host CPU", got.HostCPUMean, 0.98)
		want(t, "host CPU min", got.HostCPUMin, 0.96)
		want(t, "host memory", got.HostMemoryMax, 0.75)
		wantUnknown(t, "running", got.RunningMean)
		w.stop()
		var p analysis.TelemetryPoint
		if err := json.Unmarshal([]byte(strings.SplitN(w.points.String(), "\n", 2)[0]), &p); err != nil {
			t.Fatal(err)
		}
		want(t, "GPU power", p.GPUPower, 1240.5)
		want(t, "GPU memory busy, stored", p.GPUMemoryBusy, 0.58)
		want(t, "GPU bandwidth, stored", p.GPUBandwidth, 0.87)
		want(t, "GPU tensor, stored", p.GPUTensor, 0.12)
		wantUnknown(t, "host CPU of the first scrape", p.HostCPU)
	})
}

func TestXIDErrorIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.set(gpuURL, fixture(t, "dcgm.txt")+"DCGM_FI_DEV_XID_ERRORS{gpu=\"1\"} 79\n")
		w := start(t, telemetry.Config{GPUURL: gpuURL}, f)
		time.Sleep(5 * time.Second)
		w.stop()
		if len(w.notices) != 1 || !strings.Contains(w.notices[0], "GPU 1") || !strings.Contains(w.notices[0], "79") {
			t.Errorf("notices: %q", w.notices)
		}
	})
}

func TestAbsentEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		f := &fake{}
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		time.Sleep(5 * time.Minute)
		if got, ok := w.Window(from, time.Now()); ok {
			t.Errorf("saw %+v", got)
		}
		w.stop()
		if len(w.notices) != 1 || !strings.Contains(w.notices[0], "target.metrics_url") || !strings.Contains(w.notices[0], serverURL) {
			t.Errorf("notices: %q", w.notices)
		}
		if n := f.calls[serverURL]; n > 20 {
			t.Errorf("asked %d times in 5 minutes", n)
		}
	})
}

func TestGoingAwayAndComingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.set(serverURL, vllm(1, 0, 0, 0, 0, 0))
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		time.Sleep(1500 * time.Millisecond)

		from := time.Now()
		f.set(serverURL, "")
		time.Sleep(1200 * time.Millisecond) // one failure: busy, not gone
		if got, _ := w.Window(from, time.Now()); got.WentAway {
			t.Error("went away after one failed scrape")
		}
		time.Sleep(8 * time.Second)
		got, ok := w.Window(from, time.Now())
		if !ok || !got.WentAway || got.Scrapes != 0 {
			t.Errorf("ok %v, went away %v, scrapes %d", ok, got.WentAway, got.Scrapes)
		}
		wantUnknown(t, "running", got.RunningMean)
		wantUnknown(t, "preemptions", got.Preemptions)

		f.set(serverURL, vllm(3, 0, 0, 0, 0, 0))
		time.Sleep(6 * time.Second)
		back := time.Now()
		time.Sleep(2 * time.Second)
		if got, ok := w.Window(back, time.Now()); !ok || got.WentAway || got.Scrapes == 0 {
			t.Errorf("after it is back: ok %v, %+v", ok, got)
		}
		w.stop()
		if len(w.notices) != 2 || !strings.Contains(w.notices[0], "stopped answering (connection refused)") || !strings.Contains(w.notices[1], "answer again after") {
			t.Errorf("notices: %q", w.notices)
		}
		if !strings.Contains(w.points.String(), `"error":"server metrics: connection refused"`) {
			t.Errorf("points: %s", w.points.String())
		}
	})
}

func TestSlowEndpointIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{delay: time.Hour}
		f.set(serverURL, vllm(1, 0, 0, 0, 0, 0))
		f.set(nodeURL, fixture(t, "node.txt"))
		w := start(t, telemetry.Config{ServerURL: serverURL, Timeout: 3 * time.Second}, f)
		began := time.Now()
		w.Window(began.Add(-time.Second), began)
		if took := time.Since(began); took > 6*time.Second {
			t.Errorf("Window took %s", took)
		}
	})
}

func TestNonsenseIsNotData(t *testing.T) {
	for name, body := range map[string]string{
		"a page":           "<!doctype html><html><body>vllm:num_requests_running 7</body></html>",
		"no value":         "vllm:num_requests_running{engine=\"0\"}\n",
		"no number":        "vllm:num_requests_running seven\n",
		"unclosed labels":  "vllm:num_requests_running{engine=\"0\" 7\n",
		"unclosed value":   "vllm:num_requests_running{engine=\"0 7\n",
		"other names only": "http_requests_total 12\n",
		"cut short":        "vllm:num_requests_running{engine=\"0\"} 7\nvllm:num_requests_waiting{engi",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := time.Now()
				f := &fake{}
				f.set(serverURL, body)
				w := start(t, telemetry.Config{ServerURL: serverURL}, f)
				time.Sleep(10 * time.Second)
				if got, ok := w.Window(from, time.Now()); ok {
					t.Errorf("took it for %+v", got)
				}
				w.stop()
				if len(w.notices) != 1 {
					t.Errorf("notices: %q", w.notices)
				}
			})
		})
	}
}

func TestOddButValidText(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		f := &fake{}
		f.set(serverURL, strings.Join([]string{
			"# TYPE vllm:num_requests_running counter", // a lie
			"a line of another metric { that is broken",
			`vllm:num_requests_running { engine = "a\"},b\\" , model_name="x y", } 3 1762412345000`,
			`vllm:num_requests_running{engine="c"} +2`,
			`vllm:num_requests_running{engine="d"} NaN`,
			`vllm:num_requests_waiting{engine="c"} 1e0 # {trace_id="1"} 0.5`,
			"# EOF",
		}, "\r\n"))
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		time.Sleep(time.Second)
		got, ok := w.Window(from, time.Now())
		if !ok {
			t.Fatalf("not read: %q", w.notices)
		}
		want(t, "running", got.RunningMean, 5)
		want(t, "waiting", got.WaitingMean, 1)
	})
}

func TestLoadBalancerIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		f := &fake{}
		replica := func(started, preempted int) string {
			return fmt.Sprintf("vllm:num_requests_running 1\nvllm:num_preemptions_total %d\nprocess_start_time_seconds %d\n", preempted, started)
		}
		f.set(serverURL, replica(2000, 5))
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		time.Sleep(500 * time.Millisecond)
		for i := range 4 {
			f.set(serverURL, replica(1000+i%2*1000, 500-i%2*495))
			time.Sleep(time.Second)
		}
		got, _ := w.Window(from.Add(2*time.Second), time.Now())
		wantUnknown(t, "preemptions of two processes in turn", got.Preemptions)
		want(t, "running", got.RunningMean, 1)
		w.stop()
		if len(w.notices) != 1 || !strings.Contains(w.notices[0], "several processes") {
			t.Errorf("notices: %q", w.notices)
		}
	})
}

func TestPointsAreOneJSONLineAScrape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		f.set(serverURL, fixture(t, "vllm.txt"))
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		time.Sleep(2500 * time.Millisecond)
		w.stop()
		lines := strings.Split(strings.TrimSuffix(w.points.String(), "\n"), "\n")
		if len(lines) != 3 {
			t.Fatalf("%d lines, want 3:\n%s", len(lines), w.points.String())
		}
		for i, line := range lines {
			var p analysis.TelemetryPoint
			if err := json.Unmarshal([]byte(line), &p); err != nil {
				t.Fatalf("line %d: %v", i, err)
			}
			want(t, "running", p.Running, 64)
			want(t, "resident", p.Resident, 1.234567168e+09)
		}
	})
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left on device") }

func TestFullDiskCostsTheFileOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := time.Now()
		f := &fake{}
		f.set(serverURL, fixture(t, "vllm.txt"))
		var notices []string
		s, err := telemetry.New(telemetry.Config{ServerURL: serverURL, Fetch: f.fetch, Points: fullDisk{},
			Notice: func(text string) { notices = append(notices, text) }})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 5500*time.Millisecond)
		defer cancel()
		s.Run(ctx)
		if got, ok := s.Window(from, time.Now()); !ok || got.Scrapes != 6 {
			t.Errorf("ok %v, scrapes %d", ok, got.Scrapes)
		}
		if len(notices) != 1 || !strings.Contains(notices[0], "no space left") {
			t.Errorf("notices: %q", notices)
		}
	})
}

func TestMemoryIsBoundedAndExtremesSurvive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		f := &fake{}
		f.set(serverURL, vllm(0, 0, 0, 0, 0, 0)+"vllm:kv_cache_usage_perc 0.9\n")
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		f.set(serverURL, vllm(7, 0, 0, 0, 0, 0)+"vllm:kv_cache_usage_perc 0.5\n")
		time.Sleep(4 * time.Hour)
		w.stop()
		got, ok := w.Window(began, time.Now())
		if !ok || got.Scrapes < 4*3600 {
			t.Fatalf("ok %v, scrapes %d", ok, got.Scrapes)
		}
		want(t, "kv max, seen once at the very start", got.KVCacheMax, 0.9)
		want(t, "preemptions", got.Preemptions, 7)
		if n := w.Spans(); n > 8192 {
			t.Errorf("%d spans kept", n)
		}
		late, _ := w.Window(time.Now().Add(-time.Hour), time.Now())
		if late.Scrapes < 3600-1 || late.Scrapes > 3600+1 {
			t.Errorf("last hour: %d scrapes", late.Scrapes)
		}
	})
}

func TestNoEndpointSeesNothing(t *testing.T) {
	s, err := telemetry.New(telemetry.Config{ServerURL: telemetry.Off})
	if err != nil {
		t.Fatal(err)
	}
	s.Run(t.Context()) // returns at once
	if _, ok := s.Window(time.Now().Add(-time.Hour), time.Now()); ok {
		t.Error("saw something")
	}
}

func TestNewRefusesBadConfig(t *testing.T) {
	for _, cfg := range []telemetry.Config{
		{ServerURL: "server:8000/metrics"},
		{GPUURL: "ftp://gpu/metrics"},
		{NodeURL: "http://user:canary-secret@bad host/metrics"},
		{Interval: -1},
	} {
		if _, err := telemetry.New(cfg); err == nil {
			t.Errorf("%+v accepted", cfg)
		} else if strings.Contains(err.Error(), "canary-secret") {
			t.Errorf("secret in %q", err)
		}
	}
}

func TestEndingMidScrapeBlamesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{delay: time.Second}
		f.set(serverURL, fixture(t, "vllm.txt"))
		w := start(t, telemetry.Config{ServerURL: serverURL}, f)
		time.Sleep(500 * time.Millisecond)
		w.stop()
		if w.points.Len() > 0 || len(w.notices) > 0 {
			t.Errorf("points %s, notices %q", w.points.String(), w.notices)
		}
	})
}
