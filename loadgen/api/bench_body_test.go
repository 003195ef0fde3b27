package api

import (
	"testing"

	"github.com/capfind/capfind/loadgen/prompt"
)

// BenchmarkRequest is what a request costs before it is sent: making a prompt of
// 512 tokens and the body around it, in memory that served another before.
func BenchmarkRequest(b *testing.B) {
	source, _, err := prompt.New(b.Context(), prompt.Default(), prompt.Sizer{})
	if err != nil {
		b.Fatal(err)
	}
	o := Options{Model: "m", HoldOutputLength: true}
	b.ReportAllocs()
	var body []byte
	for i := 0; b.Loop(); i++ {
		r, err := source.Request(i)
		if err != nil {
			b.Fatal(err)
		}
		if body, err = (openAIChat{}).AppendBody(body[:0], r, nil, o); err != nil {
			b.Fatal(err)
		}
	}
}
