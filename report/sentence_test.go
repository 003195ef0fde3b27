package report

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"sort"
	"strconv"
	"strings"
	"testing"
)

// TestSentences holds that every sentence which the other packages put into a
// result is known in Chinese. The sentences are found in the source: a string with
// a few words in it, anywhere but in an error, in what only the console says and in
// the notes that no page shows. It fails where somebody words a new one.
func TestSentences(t *testing.T) {
	c := chinese(t)
	for _, dir := range []string{"../analysis", "../analysis/diagnosis", "../sweep", "../sweep/control", "../loadgen/probe", "../internal/live", "../internal/telemetry"} {
		for _, s := range sentencesIn(t, dir) {
			if notShown[s.text] || c.knows(s.text) {
				continue
			}
			t.Errorf("%s: no Chinese for %q: add it to assets/sentences.zh.json, or to notShown here", s.at, s.text)
		}
	}
}

// TestCatalogue holds that both sides of an entry have the same placeholders.
func TestCatalogue(t *testing.T) {
	c := chinese(t)
	if len(c.exact) < 50 || len(c.patterns) < 100 {
		t.Fatalf("%d exact sentences and %d patterns", len(c.exact), len(c.patterns))
	}
	for _, p := range c.patterns {
		want := append([]string(nil), p.names...)
		got := placeholder.FindAllString(p.instead, -1)
		sort.Strings(want)
		sort.Strings(got)
		if strings.Join(want, " ") != strings.Join(got, " ") {
			t.Errorf("%q: placeholders %v, in Chinese %v", p.match, want, got)
		}
		for i := 1; i < len(want); i++ {
			if want[i] == want[i-1] {
				t.Errorf("%q: %s twice", p.match, want[i])
			}
		}
	}
}

func TestSayAll(t *testing.T) {
	c := chinese(t)
	for _, x := range [][2]string{
		{"no queue", "没有排队"},
		{"worker gpu-2 was lost while the load was sent; the load of 50 requests in flight is sent again", "发送负载时失去了压测机 gpu-2；并发 50 的负载将重新发送"},
		{"limit 12 (95 % CI 12-13), bound by throughput gain; success rate > 50; TTFT > 50", "极限 12（95 % 置信区间 12-13），受吞吐量增幅限制；成功率 > 50；TTFT > 50"},
		{"at 100: 219.18 req/s, TTFT n/a, TPOT 2.0 ms", "并发 100：219.18 req/s，TTFT n/a，TPOT 2.0 ms"},
		{"success rate 0.6 % (3 of 500 requests) is below 95 % at 1 request in flight (2 runs together)", "并发 1 时成功率为 0.6 %（500 个请求中成功 3 个），低于 95 %（2 次运行合并）"},
		{"throughput gain -7.7 % from 50 to 100 requests in flight (149.4 to 137.8 req/s) is below 20 %; that is -7.7 % per doubling",
			"并发从 50 升到 100 时吞吐量增幅为 -7.7 %（149.4 → 137.8 req/s），低于 20 %；折合并发每翻一倍 -7.7 %"},
		{"throughput gain +2.0 % from 10 to 12 requests in flight (10.00 to 10.20 req/s) is below 4.91 %; that is +7.8 % per doubling; 20 % is asked of a doubling",
			"并发从 10 升到 12 时吞吐量增幅为 +2.0 %（10.00 → 10.20 req/s），低于 4.91 %；折合并发每翻一倍 +7.8 %；并发翻一倍要求 20 %"},
		// What the program adds to a result's warnings, whose source is not looked through above.
		{"5 of 40 prompts sent do not fit the model's context of 1000 tokens: they fail at any load and are in no rate; leave them out, counted, by --drop-too-long (workload.drop_too_long), or shorten them",
			"发送的 40 条提示词中有 5 条超出模型的上下文（1000 个 token）：它们在任何负载下都会失败，不计入任何比率；可用 --drop-too-long（workload.drop_too_long）剔除并计数，或缩短它们"},
		{"3 of 9 prompts sent do not fit the model's context: they fail at any load and are in no rate; lower input_len or output_len",
			"发送的 9 条提示词中有 3 条超出模型的上下文：它们在任何负载下都会失败，不计入任何比率；请减小 input_len 或 output_len"},
		{"8 of the data set's 64 prompts do not fit the model's context of 1000 tokens and were left out", "数据集的 64 条提示词中有 8 条超出模型的上下文（1000 个 token），已剔除"},
		{"8 of the data set's 64 prompts do not fit the model's context and were left out", "数据集的 64 条提示词中有 8 条超出模型的上下文，已剔除"},
		{"at 10 requests in flight: 8.0 tokens come in a chunk on average, and how many in the first is not known: TPOT is understated by about 11 % (gate 2 %)",
			"并发 10 时：平均每块有 8.0 个 token，而第一块有多少未知：TPOT 被低估约 11 %（门限 2 %）"},
		{"at 4 req/s: in 40 of 41 answers the server's count of output tokens contradicts its stream (210 tokens, where 20 is believable): the believable count is used",
			"4 req/s 时：41 个应答中有 40 个，服务器的输出 token 计数与其流矛盾（称 210 个，可信的是 20 个）：采用可信的计数"},
		{"all requests go through the proxy http://10.0.0.1:3128, which the environment names, and what it adds is measured with the server: write the server's host into NO_PROXY to go straight",
			"所有请求都经过环境变量指定的代理 http://10.0.0.1:3128，它的开销与服务器一起被测量：把服务器的主机名写入 NO_PROXY 可直连"},
		// What a server said stays as it said it, also where it looks like a list.
		{"at 50: 5 failed of 10; http_5xx: HTTP 503: busy; try later", "并发 50：10 个请求中失败 5 个；http_5xx: HTTP 503: busy; try later"},
		{"the ladder stopped at 100 (success rate 90 % (9 of 10 requests) is below 95 % at 100 requests in flight; x), but the same step later passed",
			"阶梯停在 100（并发 100 时成功率为 90 %（10 个请求中成功 9 个），低于 95 %；x），但同一步骤后来又通过了"},
		{"no queue; the ladder stopped at 100 (a; b), but the same step later passed", "没有排队；阶梯停在 100（a; b），但同一步骤后来又通过了"},
		{"我自己的话; {n} and $1", "我自己的话; {n} and $1"},
	} {
		if got := c.sayAll(x[0]); got != x[1] {
			t.Errorf("%q:\n got %q\nwant %q", x[0], got, x[1])
		}
	}
	if got := testWords(t, English).sentence("no queue"); got != "no queue" {
		t.Errorf("in English %q", got)
	}
}

// TestClosedAll holds that many sentences of one kind are counted, not listed.
func TestClosedAll(t *testing.T) {
	w := testWords(t, English)
	same := []string{"at 1 it was 3.5 ms (+2 %)", "at 2 it was 4 ms (-1 %)", "at 3 it was 5 ms (+9 %)"}
	if got := w.closedAll(same); len(got) != 3 || got[0] != "At 1 it was 3.5 ms (+2 %)." {
		t.Errorf("three: %q", got)
	}
	got := w.closedAll(append(append([]string{}, same...), "something else!", "at 4 it was 6 ms (-7 %)"))
	want := "At 1 it was 3.5 ms (+2 %).|At 2 it was 4 ms (-1 %).|2 more of the same kind.|Something else!"
	if strings.Join(got, "|") != want {
		t.Errorf("five: %q", got)
	}
}

func chinese(t *testing.T) *catalogue {
	t.Helper()
	all, err := catalogues()
	if err != nil {
		t.Fatal(err)
	}
	return all[Chinese]
}

// knows reports whether an entry of the catalogue has all the words of a format,
// of which it may be a piece.
func (c *catalogue) knows(format string) bool {
	quoted := regexp.QuoteMeta(strings.ReplaceAll(formatVerb.ReplaceAllString(strings.Trim(format, "; "), "\x00"), "%%", "%"))
	words := regexp.MustCompile(strings.ReplaceAll(quoted, "\x00", ".*?"))
	for s := range c.exact {
		if words.MatchString(s) {
			return true
		}
	}
	for _, p := range c.patterns {
		if words.MatchString(p.english) {
			return true
		}
	}
	return false
}

// formatVerb takes the unit along where the placeholder does.
var formatVerb = regexp.MustCompile(`%(?:\[[0-9]\])?[-+.0-9]*[a-z](?: %%| ms\b| s\b| requests in flight)?`)

type wording struct{ at, text string }

var fewWords = regexp.MustCompile(`[a-z]{2,} [a-z%]{2,}`)

// sentencesIn lists the strings of a package that are words for people.
func sentencesIn(t *testing.T, dir string) []wording {
	t.Helper()
	files, err := filepath.Glob(dir + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("%s: %d files, %v", dir, len(files), err)
	}
	var out []wording
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") || notSaid[filepath.Base(dir)+"/"+filepath.Base(file)] {
			continue
		}
		set := token.NewFileSet()
		tree, err := parser.ParseFile(set, file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CallExpr:
				return !elsewhere[called(n.Fun)]
			case *ast.Field:
				return n.Tag == nil
			case *ast.CompositeLit:
				name, ok := n.Type.(*ast.Ident)
				return !ok || name.Name != "Error" && name.Name != "budgetError" || n.Elts == nil
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && fewWords.MatchString(text) {
					out = append(out, wording{set.Position(n.Pos()).String(), text})
				}
			}
			return true
		})
	}
	return out
}

func called(f ast.Expr) string {
	switch f := f.(type) {
	case *ast.SelectorExpr:
		return f.Sel.Name
	case *ast.Ident:
		return f.Name
	}
	return ""
}

// elsewhere are the calls whose words do not come into a result, or only among the
// notes of a search, which the page does not show.
var elsewhere = map[string]bool{"Errorf": true, "New": true, "panic": true, "note": true, "rerun": true, "MustCompile": true}

// notSaid are files with no words for the page: on how to use the program, on what
// went wrong with a request, on why the search measures where it does.
var notSaid = map[string]bool{
	"analysis/plan.go": true, "analysis/recommend.go": true,
	"sweep/config.go": true, "sweep/differences.go": true, "sweep/plan.go": true,
	"sweep/knee.go": true, "sweep/success.go": true, "sweep/latency.go": true, "sweep/limit.go": true,
	"probe/http.go": true, "probe/identify.go": true, "probe/ready.go": true, "probe/errors.go": true, "probe/unreachable.go": true,
}

// notShown are other sentences that the page has no place for.
var notShown = map[string]bool{
	"counted as if 3 x the recorded traffic did not hold, and 2 x did; every further doubling sends it once more": true, // of a dry run
	"runs near the limit are made until it is known within 10 %, at most 12 of them":                              true,
	"must be from 0 to %d, not %v": true, // of a configuration
	"%s: %.3g s per request, more than with more in flight: the server was still warming up": true, // points that a fit left out
	"%s: %.3g s per request where %.3g would fit the others: something disturbed it":         true,
	// what the live page answers to a request that it refuses
	"only GET is answered here": true, "open this page by the address that capfind printed": true, "%d are watching already": true,
	"the address lacks its token: open the whole address that capfind printed": true,
	"llamacpp:prompt_tokens and cached":                                        true,                                                                                                        // a metric's name
	"too many concurrent":                                                      true, "server busy": true, "currently busy": true, "kv cache": true, "context size has been exceeded": true, // a server's own words
	"share of arrivals piling up": true, // a metric, of which the page shows the sentence
	// what a step is measured for, and the search's own account of it
	"%d requests in flight, %d requests: %s": true, "ended early: %s; what is still only bracketed would need more": true,
	"a closed loop where the rate seems to be reached": true, "between the rates that held and that did not": true,
	// why a step was not measured to its end: of steps.csv, which is English
	"abandoned: %d requests in a row failed (%s)": true, "abandoned: the first %d requests sent failed, none succeeded (%s)": true,
	"abandoned: %d of %d planned requests had failed after %d, so the step was lost whatever followed": true,
	"stopped after %d requests: %d had failed, which settles that the step is lost":                    true,
	// errors of the probe
	"the answer holds no output": true, "set model to one of: ": true, "set api: openai-completions, which needs no chat template": true,
	"the server's own words should say what it wants; extra_body and api change what is sent": true,
	"check api and model; a model that reasons in secret needs a longer output_len":           true,
	"the answer ended without a finish mark":                                                  true, "look at the server's log, or at a proxy in between": true,
	"%s after %d output events, without a finish mark": true, "it ended after %d output events, without a finish mark": true,
	"not done within %v": true, "raise timeouts.total (--timeout-total) if the model takes that long": true,
	"no output within %v of sending": true, "raise timeouts.first_token (--timeout-first-token) if the model takes that long, or look at the server's log": true,
	"silence of %v within the answer, after %d output events": true, "raise timeouts.idle (--timeout-idle) if the model pauses that long, or look at the server's log": true,
	"lower input_len or output_len, or serve the model with a longer context": true,
	// what the probe waits for
	"the rest of the answer to %s, after %d output events": true, "the answer to ": true, " (%v at most)": true,
	"a short request that counts the tokens of a prompt": true, "the warm-up request": true,
	"context %d tokens": true, "telemetry at ": true, "no telemetry found": true, // the console's
}

func TestCatalogueIsJSON(t *testing.T) {
	raw, err := assets.ReadFile("assets/sentences.zh.json")
	if err != nil {
		t.Fatal(err)
	}
	var flat map[string]string
	if err := json.Unmarshal(raw, &flat); err != nil {
		t.Fatal(err)
	}
	c := chinese(t)
	if len(flat) != len(c.exact)+len(c.patterns) {
		t.Errorf("%d entries, %d read: one is there twice", len(flat), len(c.exact)+len(c.patterns))
	}
}
