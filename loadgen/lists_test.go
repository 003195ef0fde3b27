package loadgen

import (
	"encoding/json"
	"testing"
	"time"
)

func TestWithLists(t *testing.T) {
	type leaf struct {
		Names []string
		At    time.Time
		Raw   []byte
		Known Number
	}
	type tree struct {
		Leaves []leaf
		ByName map[string]leaf
		One    *leaf
		None   *leaf
		Any    any
		hidden int
	}
	v := &tree{Leaves: make([]leaf, 1), ByName: map[string]leaf{"a": {Names: []string{"x"}}}, One: &leaf{}, hidden: 7}
	got := WithLists(v)
	data, err := json.Marshal(got)
	if err != nil {
		t.Fatal(err)
	}
	const empty = `{"Names":[],"At":"0001-01-01T00:00:00Z","Raw":null,"Known":null}`
	want := `{"Leaves":[` + empty + `],"ByName":{"a":{"Names":["x"],"At":"0001-01-01T00:00:00Z","Raw":null,"Known":null}},"One":` + empty + `,"None":null,"Any":null}`
	if string(data) != want {
		t.Errorf("got  %s\nwant %s", data, want)
	}
	if v.Leaves[0].Names != nil || v.One.Names != nil || v.ByName == nil || got.hidden != 7 {
		t.Error("the value itself was changed, or a field was lost")
	}
	if data, _ := json.Marshal(WithLists(tree{})); string(data) != `{"Leaves":[],"ByName":{},"One":null,"None":null,"Any":null}` {
		t.Errorf("empty: %s", data)
	}
}
