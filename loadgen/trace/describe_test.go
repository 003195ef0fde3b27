package trace

import (
	"fmt"
	"math"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/capfind/capfind/loadgen"
)

func describe(t testing.TB, text string) *Description {
	t.Helper()
	path := filepath.Join(t.TempDir(), "trace")
	write(t, path, text)
	d, err := Describe(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func near(t *testing.T, what string, got loadgen.Number, want, share float64) {
	t.Helper()
	v, ok := got.Value()
	if !ok || math.Abs(v-want) > share*math.Abs(want) {
		t.Errorf("%s %s, want %v", what, got, want)
	}
}

// drawn is a trace of gamma-distributed gaps whose rate has a known course.
func drawn(shape float64, hours int, rate func(minute int) float64) string {
	rng := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	at := 0.0
	for at < float64(hours)*3600 {
		r := rate(int(at / 60))
		gap := 0.0 // Erlang: shape is a whole number or its inverse
		if shape >= 1 {
			for range int(shape) {
				gap += rng.ExpFloat64() / shape
			}
		} else if rng.Float64() < 0.5 { // two exponentials of unlike mean: squared variation 1 + 2 d^2
			d := math.Sqrt((1/shape - 1) / 2)
			gap = rng.ExpFloat64() * (1 + d)
		} else {
			d := math.Sqrt((1/shape - 1) / 2)
			gap = rng.ExpFloat64() * (1 - d)
		}
		at += gap / r
		fmt.Fprintf(&b, `{"time":%.6f,"input_tokens":%d,"output_tokens":%d}`+"\n", at, 1+rng.IntN(1000), 50)
	}
	return b.String()
}

// The hours of the day are no burstiness: the shape is that of the gaps within them.
func TestBurstiness(t *testing.T) {
	daily := func(m int) float64 { return 3 + 2*math.Sin(float64(m)/40) }
	for _, shape := range []float64{0.6, 1, 4} {
		d := describe(t, drawn(shape, 6, daily))
		near(t, fmt.Sprintf("shape %v:", shape), d.Burstiness, shape, 0.12)
		near(t, "rate", d.RequestRate, 3, 0.15)
		near(t, "p50", d.InputTokens.P50, 500, 0.03)
		near(t, "p99", d.InputTokens.P99, 990, 0.02)
		near(t, "mean", d.OutputTokens.Mean, 50, 0)
	}
}

func TestPeakMinute(t *testing.T) {
	peak := func(m int) float64 {
		if m == 37 {
			return 20
		}
		return 2
	}
	d := describe(t, drawn(1, 1, peak))
	if d.Peak == nil || math.Abs(d.Peak.AtSeconds-37*60) > 2 || d.Peak.Requests < 1000 || math.Abs(d.Peak.Rate-float64(d.Peak.Requests)/60) > 1e-9 {
		t.Fatalf("peak %+v", d.Peak)
	}
	near(t, "ratio", loadgen.Known(d.Peak.Ratio), d.Peak.Rate/d.RequestRate.Or(0), 1e-9)
	sum, highest := 0.0, Arrived{}
	for _, a := range d.Arrivals {
		if a.Rate > highest.Rate {
			highest = a
		}
		sum += a.Rate * (d.Arrivals[1].AtSeconds - d.Arrivals[0].AtSeconds)
	}
	if math.Abs(highest.AtSeconds-37.5*60) > 32 {
		t.Errorf("most arrive at %v", highest)
	}
	if n := len(d.Arrivals); n > mostArrived || n < mostArrived/2 || sum < float64(d.Requests) || sum > 1.02*float64(d.Requests) {
		t.Errorf("%d stretches with %v of %d requests", n, sum, d.Requests)
	}
}

func TestSharedPrefix(t *testing.T) {
	// 46..57 are 12 blocks of 512 of the second prompt, which is 6472 long.
	d := describe(t, mooncakeText)
	near(t, "shared", d.SharedPrefix, 12*512.0/(6955+6472), 1e-9)
	// Equal blocks behind different ones are not a common prefix.
	d = describe(t, `{"time":0,"input_tokens":100,"blocks":[1,2],"block_tokens":50}
{"time":1,"input_tokens":100,"blocks":[3,2],"block_tokens":50}
`)
	near(t, "shared", d.SharedPrefix, 0, 0)
	d = describe(t, `{"time":0,"input_tokens":100,"blocks":[1,2],"block_tokens":50}
{"time":1,"input_tokens":100,"blocks":[3,4],"block_tokens":50}
{"time":2,"input_tokens":100,"blocks":[1,4],"block_tokens":50}
`)
	near(t, "shared", d.SharedPrefix, 50.0/300, 1e-9)
	// A text that came before is known as a whole, a longer one by its blocks.
	long := strings.Repeat("ab ", 2048)
	d = describe(t, fmt.Sprintf(`{"time":0,"prompt":"short"}
{"time":1,"prompt":"short"}
{"time":2,"prompt":"%s"}
{"time":3,"prompt":"%sx"}
`, long, long[:4096]))
	near(t, "shared", d.SharedPrefix, (5+4096.0)/(5+5+6144+4097), 1e-9)
	if d = describe(t, azureText); d.SharedPrefix.IsKnown() {
		t.Errorf("without blocks %s is shared", d.SharedPrefix)
	}
}

func TestResolution(t *testing.T) {
	for _, c := range []struct {
		text string
		want float64
	}{
		{burstText + "46,ChatGPT,1,1,2,API log\n", 1}, // times 0, 40 and 41
		{`{"time":5,"input_tokens":1}
{"time":11,"input_tokens":1}
{"time":14,"input_tokens":1}`, 3},
		{`{"time":5,"input_tokens":1}
{"time":5.25,"input_tokens":1}
{"time":5.4,"input_tokens":1}`, 0.05},
	} {
		if d := describe(t, c.text); math.Abs(d.Resolution-c.want) > 1e-9 {
			t.Errorf("resolution %v, want %v", d.Resolution, c.want)
		}
	}
}

func TestDescribeOutOfOrder(t *testing.T) {
	d := describe(t, `{"time":100,"input_tokens":3,"session":"a"}
{"time":40,"input_tokens":1,"session":"a"}
{"time":160.5,"input_tokens":2,"session":"b"}
`)
	if d.OutOfOrder != 1 || d.SpanSeconds != 120.5 || d.Sessions != 2 || d.InSessions != 3 || d.Peak == nil || d.Peak.AtSeconds != 0 {
		t.Errorf("%+v", d)
	}
	if d.Burstiness.IsKnown() {
		t.Errorf("burstiness of three requests: %s", d.Burstiness)
	}
	if one := describe(t, `{"time":1,"input_tokens":3}`); one.RequestRate.IsKnown() || one.Peak != nil || one.Arrivals != nil {
		t.Errorf("%+v", one)
	}
}

// Rates are over the gaps, and a handful of them says nothing about how they vary.
func TestRateAndFewGaps(t *testing.T) {
	line := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `{"time":%g,"input_tokens":1}`+"\n", float64(i)+0.3*float64(i%2))
		}
		return b.String()
	}
	d := describe(t, line(11))
	near(t, "rate", d.RequestRate, 1, 1e-9)
	if d.Burstiness.IsKnown() {
		t.Errorf("burstiness %s of ten gaps", d.Burstiness)
	}
	if d = describe(t, line(41)); !d.Burstiness.IsKnown() {
		t.Error("no burstiness of forty gaps")
	}
	// The last stretch of arrivals is as long as the trace, not as the others.
	for _, seconds := range []int{481, 482, 484, 485} { // stretches of five seconds, and what is left
		var b strings.Builder
		for i := range 10*seconds + 1 {
			fmt.Fprintf(&b, `{"time":%g,"input_tokens":1}`+"\n", float64(i)/10)
		}
		a := describe(t, b.String()).Arrivals
		if last := a[len(a)-1].Rate; math.Abs(last-10) > 1 {
			t.Errorf("%d s: %v in the last of %d stretches, 10 in all others", seconds, last, len(a))
		}
	}
}
