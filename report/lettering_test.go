package report

import (
	"bytes"
	"image"
	"image/png"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/image/font/gofont/goregular"
)

// systemTypeface is a font of this system, for tests that need one.
func systemTypeface(t *testing.T) *Typeface {
	t.Helper()
	face, err := ChineseTypeface("")
	if err != nil {
		t.Skip(err)
	}
	return face
}

// TestChinesePictures: with a font the pictures' words are drawn, and are others
// than in English; without one the pictures are those in English.
func TestChinesePictures(t *testing.T) {
	face := systemTypeface(t)
	r := slotsFixture().result
	drawn := func(o Options) map[string][]byte {
		pics, err := pictures(r, o)
		if err != nil {
			t.Fatal(err)
		}
		out := map[string][]byte{}
		for _, p := range pics {
			if out[p.path], err = p.render(); err != nil {
				t.Fatal(err)
			}
		}
		return out
	}
	english, without, chinese := drawn(Options{}), drawn(Options{Language: Chinese}), drawn(Options{Language: Chinese, Typeface: face})
	sameFace := drawn(Options{Language: English, Typeface: face})
	for path := range english {
		if !bytes.Equal(english[path], without[path]) {
			t.Errorf("%s: without a font it is not the English one", path)
		}
		if bytes.Equal(english[path], chinese[path]) {
			t.Errorf("%s: with a font it is the English one", path)
		}
		if bytes.Equal(sameFace[path], chinese[path]) {
			t.Errorf("%s: its words are English", path)
		}
	}
}

// TestTypefaceDraws: what is drawn of a character is ink, and every one is another.
func TestTypefaceDraws(t *testing.T) {
	face := systemTypeface(t)
	seen := map[string]rune{}
	for _, r := range chineseSample {
		l := &lettering{words: testWords(t, Chinese), face: face}
		var b bytes.Buffer
		if err := writePNG(&b, l, string(r), ""); err != nil {
			t.Fatal(err)
		}
		drawn := b.String()
		pic, err := png.Decode(&b)
		if err != nil {
			t.Fatal(err)
		}
		if dark(pic) < 100 {
			t.Errorf("%c: %d dark points", r, dark(pic))
		}
		if other := seen[drawn]; other != 0 {
			t.Errorf("%c is drawn as %c", r, other)
		}
		seen[drawn] = r
	}
	l := &lettering{face: face}
	if got := l.text("极限 limit\n\U0010fffd"); got != "极限 limit ?" {
		t.Errorf("%q", got)
	}
	if got := (&lettering{}).text("极限 limit"); got != "?? limit" {
		t.Errorf("%q", got)
	}
}

func dark(pic image.Image) int {
	n := 0
	for y := range pic.Bounds().Dy() {
		for x := range pic.Bounds().Dx() {
			if r, _, _, _ := pic.At(x, y).RGBA(); r < 0x8000 {
				n++
			}
		}
	}
	return n
}

// TestTypefaceRefused: what is no font, or has no Chinese, is said with its path.
func TestTypefaceRefused(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "NotoSansCJK-Regular.ttc")
	if err := os.WriteFile(text, []byte("no font"), 0o600); err != nil {
		t.Fatal(err)
	}
	latin := filepath.Join(dir, "latin.ttf")
	if err := os.WriteFile(latin, goregular.TTF, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{text, latin, filepath.Join(dir, "none.ttf")} {
		if _, err := ChineseTypeface(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// TestFindFonts: by preference, wherever they lie.
func TestFindFonts(t *testing.T) {
	dir := t.TempDir()
	var want []string
	for _, name := range []string{"noto/NotoSansCJK-Regular.ttc", "win/msyh.ttc", "a/simsun.ttc"} {
		path := filepath.Join(dir, filepath.FromSlash(name))
		want = append(want, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "DejaVuSans.ttf"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if got := findFonts([]string{filepath.Join(dir, "nowhere"), dir}); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
