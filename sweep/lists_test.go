package sweep

import (
	"encoding/json"
	"testing"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/analysis/diagnosis"
)

// Lists and maps of result.json are never null, however deep they lie; what is
// unknown or absent stays null, and the result itself is not touched.
func TestListsAreNeverNull(t *testing.T) {
	r := &Result{Answer: Answer{
		Steps:      []analysis.Step{{Steady: &analysis.Summary{}}},
		Search:     &Search{},
		Bottleneck: &diagnosis.Bottleneck{},
		Limits:     map[string]analysis.Limit{"ttft": {}},
	}}
	for name, v := range map[string]any{"pointer": r, "value": *r} {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(data, &got); err != nil {
			t.Fatal(err)
		}
		step := got["steps"].([]any)[0].(map[string]any)
		for where, list := range map[string]any{
			"warnings": got["warnings"], "crashes": got["crashes"], "search.doubts": got["search"].(map[string]any)["doubts"],
			"target.notes": got["target"].(map[string]any)["notes"], "environment.command_line": got["environment"].(map[string]any)["command_line"],
			"bottleneck.evidence": got["bottleneck"].(map[string]any)["evidence"],
			"steps.breaches":      step["breaches"], "steps.client.limits": step["client"].(map[string]any)["limits"],
			"steps.steady.batches": step["steady"].(map[string]any)["batches"],
		} {
			if l, ok := list.([]any); !ok || len(l) != 0 {
				t.Errorf("%s: %s is %v, want []", name, where, list)
			}
		}
		for where, m := range map[string]any{"config": got["config"], "steps.failures": step["failures"]} {
			if l, ok := m.(map[string]any); !ok || len(l) != 0 {
				t.Errorf("%s: %s is %v, want {}", name, where, m)
			}
		}
		for _, absent := range []string{"limit", "recommendation", "qps", "finished_at"} {
			if v, ok := got[absent]; !ok || v != nil {
				t.Errorf("%s: %s is %v, want null", name, absent, v)
			}
		}
	}
	if r.Warnings != nil || r.Steps[0].Breaches != nil || r.Search.Doubts != nil {
		t.Error("encoding changed the result")
	}
}
