package report

import (
	"bytes"
	"image/png"
	"testing"

	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/loadgen/trace"
)

func TestTracePicture(t *testing.T) {
	k := loadgen.Known
	full := &trace.Description{SpanSeconds: 9000, RequestRate: k(2), Peak: &trace.Peak{AtSeconds: 300, Rate: 6},
		Arrivals:    []trace.Arrived{{AtSeconds: 1500, Rate: 1}, {AtSeconds: 4500, Rate: 6}, {AtSeconds: 7500, Rate: 2}},
		InputTokens: trace.Lengths{Quantiles: []trace.Quantile{{Share: .1, Tokens: 10}, {Share: .9, Tokens: 4000}}}}
	w, err := dictionary(English)
	if err != nil {
		t.Fatal(err)
	}
	if c := arrivals(w, full); c.x.label != "time since the first recorded request (min)" || c.series[0].points[1].x != 4500 || c.across[0].at != 2 || c.upright[0].at != 330 {
		t.Errorf("%+v", c)
	}
	if c := lengths(w, full); len(c.series) != 1 || c.series[0].points[1].x != 90 || c.y.max < 4000 || c.y.min > 10 {
		t.Errorf("%+v", c)
	}
	for name, d := range map[string]*trace.Description{"full": full, "one request": {}} {
		var b bytes.Buffer
		if err := TracePicture(&b, d, name, "subtitle"); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if img, err := png.Decode(&b); err != nil || img.Bounds().Dx() != 1920 {
			t.Errorf("%s: %v", name, err)
		}
	}
}
