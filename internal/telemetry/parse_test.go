package telemetry

import (
	"bytes"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// FuzzParse holds the parser to its promises: no panic, finite values, and the
// same answer whatever stands between the lines that it wants.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(files) == 0 {
		f.Fatal("no fixtures", err)
	}
	for _, name := range files {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`vllm:num_requests_running{a="\\\"\n\x",} 0x1p-2 7` + "\n\nvllm:num_preemptions_total 1e999"))
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := parse(body, serverNames)
		for _, s := range got {
			if !serverNames[s.name] || math.IsNaN(s.value) || math.IsInf(s.value, 0) {
				t.Fatalf("%+v", s)
			}
		}
		padded := bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n# TYPE x counter\nx{y=\"} broken\n"))
		again, errAgain := parse(padded, serverNames)
		if (err == nil) != (errAgain == nil) || !reflect.DeepEqual(got, again) {
			t.Fatalf("%v, %v; with other lines between %v, %v", got, err, again, errAgain)
		}
		r, err := readServer(body)
		if err == nil && r.source == "" {
			t.Fatal("no source")
		}
		readGPU(body)
		readNode(body)
	})
}

func TestReadNode(t *testing.T) {
	body, err := os.ReadFile("testdata/node.txt")
	if err != nil {
		t.Fatal(err)
	}
	r, err := readNode(body)
	if err != nil || r.all != 2400 || r.busy != 40+150+20+75 || r.memory != 0.75 {
		t.Errorf("%+v, %v", r, err)
	}
	if share := r.cpuShare(nodeReading{busy: 185, all: 2200}); share != 0.5 {
		t.Errorf("share %v, want 0.5", share)
	}
	if share := r.cpuShare(nodeReading{busy: 1, all: 9000}); !math.IsNaN(share) {
		t.Errorf("share %v after the host was restarted", share)
	}
}

func TestLabelEscapes(t *testing.T) {
	got, err := parse([]byte(`process_resident_memory_bytes{a="x\\y\"z\nw",b=""} 1`), serverNames)
	if err != nil || len(got) != 1 || got[0].label("a") != "x\\y\"z\nw" || got[0].label("b") != "" {
		t.Errorf("%+v, %v", got, err)
	}
}
