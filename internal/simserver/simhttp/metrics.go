package simhttp

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/capfind/capfind/internal/simserver"
)

// exposition builds the Prometheus text format.
type exposition struct {
	strings.Builder
	labels string // of every sample, without braces
}

func (e *exposition) family(name, kind, help string) {
	fmt.Fprintf(e, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (e *exposition) sample(name, labels string, v float64) {
	all := e.labels
	if labels != "" {
		all = strings.TrimPrefix(all+","+labels, ",")
	}
	if all != "" {
		all = "{" + all + "}"
	}
	fmt.Fprintf(e, "%s%s %s\n", name, all, strconv.FormatFloat(v, 'g', -1, 64))
}

func (e *exposition) gauge(name, help string, v float64) {
	e.family(name, "gauge", help)
	e.sample(name, "", v)
}

func (e *exposition) counter(name, help string, v uint64) {
	e.family(name, "counter", help)
	e.sample(name, "", float64(v))
}

func (e *exposition) histogram(name, help string, d *simserver.Histogram) {
	e.family(name, "histogram", help)
	total := uint64(0)
	for i, bound := range simserver.Bounds {
		total += d.Counts[i]
		e.sample(name+"_bucket", fmt.Sprintf("le=%q", strconv.FormatFloat(bound, 'g', -1, 64)), float64(total))
	}
	total += d.Counts[len(simserver.Bounds)]
	e.sample(name+"_bucket", `le="+Inf"`, float64(total))
	e.sample(name+"_sum", "", d.Sum.Seconds())
	e.sample(name+"_count", "", float64(total))
}

// metrics serves what the imitated server would, and how late the simulator was.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	st := s.State()
	var e exposition
	switch s.cfg.Server {
	case simserver.SGLang:
		s.sglangMetrics(&e, st)
	case simserver.TGI:
		s.tgiMetrics(&e, st)
	case simserver.LlamaCpp:
		llamaMetrics(&e, st)
	default:
		s.vllmMetrics(&e, st)
	}
	e.labels = ""
	late := s.Lateness()
	e.family("simserver_write_lateness_seconds", "summary", "How late the simulator wrote its events.")
	e.sample("simserver_write_lateness_seconds", `quantile="0.5"`, late.P50.Seconds())
	e.sample("simserver_write_lateness_seconds", `quantile="0.99"`, late.P99.Seconds())
	e.sample("simserver_write_lateness_seconds_sum", "", late.Mean.Seconds()*float64(late.Events))
	e.sample("simserver_write_lateness_seconds_count", "", float64(late.Events))
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write([]byte(e.String()))
}

func (s *Server) vllmMetrics(e *exposition, st simserver.State) {
	e.labels = "model_name=" + s.model + `,engine="0"`
	e.gauge("vllm:num_requests_running", "Number of requests in model execution batches.", float64(st.Running))
	e.gauge("vllm:num_requests_waiting", "Number of requests waiting to be processed.", float64(st.Waiting))
	e.gauge("vllm:kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", st.KVUsage)
	e.counter("vllm:num_preemptions_total", "Cumulative number of preemptions.", st.Preemptions)
	e.counter("vllm:prefix_cache_queries_total", "Prefix cache queries, in tokens.", st.PrefixQueries)
	e.counter("vllm:prefix_cache_hits_total", "Prefix cache hits, in tokens.", st.PrefixHits)
	e.counter("vllm:prompt_tokens_total", "Number of prefill tokens processed.", st.PromptTokens)
	e.counter("vllm:generation_tokens_total", "Number of generation tokens processed.", st.OutputTokens+st.InFlightTokens)
	e.histogram("vllm:time_to_first_token_seconds", "Time to first token.", &st.TTFT)
	e.histogram("vllm:request_queue_time_seconds", "Time spent waiting.", &st.QueueTime)
	e.histogram("vllm:request_prefill_time_seconds", "Time from leaving the queue to the first token.", &st.PrefillTime)
	e.histogram("vllm:e2e_request_latency_seconds", "End-to-end request latency.", &st.E2E)
	labels := e.labels
	e.labels = ""
	const block = 16
	e.family("vllm:cache_config_info", "gauge", "Information of the KV cache.")
	e.sample("vllm:cache_config_info", fmt.Sprintf("block_size=\"%d\",num_gpu_blocks=\"%d\",enable_prefix_caching=%q", block, s.cfg.KVTokens/block, strconv.FormatBool(s.cfg.PrefixCache.Tokens > 0)), 1)
	e.labels = labels
}

func (s *Server) sglangMetrics(e *exposition, st simserver.State) {
	e.labels = "model_name=" + s.model
	e.gauge("sglang:num_running_reqs", "The number of running requests.", float64(st.Running))
	e.gauge("sglang:num_queue_reqs", "The number of requests in the waiting queue.", float64(st.Waiting))
	e.gauge("sglang:token_usage", "The token usage.", st.KVUsage)
	hits := 0.0
	if st.PrefixQueries > 0 {
		hits = float64(st.PrefixHits) / float64(st.PrefixQueries)
	}
	e.gauge("sglang:cache_hit_rate", "The prefix cache hit rate.", hits)
	e.gauge("sglang:gen_throughput", "The generation throughput (token/s).", st.TokenRate)
	if s.cfg.KVTokens > 0 {
		e.gauge("sglang:max_total_num_tokens", "What the KV cache holds.", float64(s.cfg.KVTokens))
	}
	e.counter("sglang:prompt_tokens_total", "Number of prefill tokens processed.", st.PromptTokens)
	e.counter("sglang:generation_tokens_total", "Number of generation tokens processed.", st.OutputTokens+st.InFlightTokens)
	e.histogram("sglang:time_to_first_token_seconds", "Histogram of time to first token.", &st.TTFT)
}

func (s *Server) tgiMetrics(e *exposition, st simserver.State) {
	e.gauge("tgi_queue_size", "Number of requests waiting in the internal queue.", float64(st.Waiting))
	e.gauge("tgi_batch_current_size", "Current batch size.", float64(st.Running))
	e.gauge("tgi_batch_current_max_tokens", "Maximum tokens the current batch will grow to.", float64(s.cfg.KVTokens))
	e.histogram("tgi_request_queue_duration", "Request queue duration.", &st.QueueTime)
	e.histogram("tgi_request_duration", "Request duration.", &st.E2E)
	for _, f := range []struct {
		name string
		sum  uint64
	}{{"tgi_request_input_length", st.PromptTokens}, {"tgi_request_generated_tokens", st.OutputTokens}} {
		e.family(f.name, "summary", "Tokens per request.")
		e.sample(f.name+"_sum", "", float64(f.sum))
		e.sample(f.name+"_count", "", float64(st.Finished))
	}
}

// llamaMetrics shows the mean of busy slots as llama.cpp does: over all decodes
// since the start.
func llamaMetrics(e *exposition, st simserver.State) {
	e.gauge("llamacpp:requests_processing", "Number of requests processing.", float64(st.Running))
	e.gauge("llamacpp:requests_deferred", "Number of requests deferred.", float64(st.Waiting))
	e.counter("llamacpp:n_decode_total", "Total number of llama_decode() calls.", uint64(st.Steps))
	e.gauge("llamacpp:n_busy_slots_per_decode", "Average number of busy slots per llama_decode() call.", st.BusySteps/max(1, st.Steps))
	e.counter("llamacpp:prompt_tokens_total", "Number of prompt tokens processed.", st.PromptTokens)
	e.counter("llamacpp:tokens_predicted_total", "Number of generation tokens processed.", st.OutputTokens+st.InFlightTokens)
}
