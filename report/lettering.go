package report

import (
	"errors"
	"fmt"
	"image/color"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	stdfont "golang.org/x/image/font"
	"golang.org/x/image/font/opentype"
	"golang.org/x/image/font/sfnt"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
)

// lettering is how the texts of a picture are drawn, and in which language.
type lettering struct {
	words
	face *Typeface // nil: gonum's own, which has Latin letters alone
}

// Typeface is a font with Chinese characters, for pictures in Chinese.
type Typeface struct {
	Path    string // of the file that it was read from
	fonts   *font.Cache
	regular *sfnt.Font
}

// chineseSample is what a font must be able to draw to be one for the pictures.
const chineseSample = "并发极限吞吐量首延迟成功率"

// likelyFonts are fonts with Chinese characters as systems name their files, those
// without serifs first.
var likelyFonts = []string{"NotoSansCJK-Regular*", "NotoSansCJKsc-Regular*", "NotoSansSC-Regular*", "NotoSansSC*", "NotoSansCJK*", "SourceHanSans*",
	"PingFang*", "Hiragino Sans GB*", "STHeiti*", "msyh.*", "Deng.*", "simhei.*", "wqy-microhei*", "wqy-zenhei*", "DroidSansFallback*",
	"NotoSerifCJK-Regular*", "Songti*", "simsun.*", "Arial Unicode*", "uming*", "ukai*"}

// fontFolders are where systems keep their fonts.
func fontFolders() []string {
	home, _ := os.UserHomeDir() // without one its folders are not there
	switch runtime.GOOS {
	case "windows":
		return []string{filepath.Join(os.Getenv("WINDIR"), "Fonts"), filepath.Join(os.Getenv("LOCALAPPDATA"), "Microsoft", "Windows", "Fonts")}
	case "darwin":
		return []string{"/System/Library/Fonts", "/Library/Fonts", "/System/Library/AssetsV2", filepath.Join(home, "Library", "Fonts")}
	}
	return []string{"/usr/share/fonts", "/usr/local/share/fonts", filepath.Join(home, ".local", "share", "fonts"), filepath.Join(home, ".fonts")}
}

// ChineseTypeface reads a font with Chinese characters: the file at path, or where
// that is empty one of those that the system has.
func ChineseTypeface(path string) (*Typeface, error) {
	if path != "" {
		return readTypeface(path)
	}
	for _, candidate := range findFonts(fontFolders()) {
		if t, err := readTypeface(candidate); err == nil {
			return t, nil
		}
	}
	return nil, errors.New("no font with Chinese characters was found on this system")
}

// findFonts lists the files in the folders that look like Chinese fonts, the
// likeliest first.
func findFonts(folders []string) []string {
	found := make([][]string, len(likelyFonts))
	for _, folder := range folders {
		_ = filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return nil // what cannot be read holds no font that can
			}
			for i, pattern := range likelyFonts {
				if ok, _ := filepath.Match(pattern, d.Name()); ok {
					found[i] = append(found[i], path)
					break
				}
			}
			return nil
		})
	}
	return slices.Concat(found...)
}

// readTypeface reads a font file or a collection, of which it takes the font for
// simplified Chinese where there are several, and the bold one beside it.
func readTypeface(path string) (*Typeface, error) {
	regular, err := readFont(path)
	if err != nil {
		return nil, fmt.Errorf("%s cannot be used as a font: %w", path, err)
	}
	bold := regular
	for _, name := range []string{strings.Replace(path, "Regular", "Bold", 1), strings.Replace(path, "msyh.", "msyhbd.", 1)} {
		if name == path {
			continue
		}
		if f, err := readFont(name); err == nil {
			bold = f
		}
	}
	t := &Typeface{Path: path, regular: regular}
	t.fonts = font.NewCache(font.Collection{
		{Font: font.Font{Typeface: "Chinese"}, Face: regular},
		{Font: font.Font{Typeface: "Chinese", Weight: stdfont.WeightBold}, Face: bold},
	})
	return t, nil
}

func readFont(path string) (*opentype.Font, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	all, err := opentype.ParseCollection(raw)
	if err != nil {
		return nil, err
	}
	var chosen *opentype.Font
	for i := range all.NumFonts() {
		f, err := all.Font(i)
		if err != nil {
			return nil, err
		}
		if !draws(f, chineseSample) {
			continue
		}
		name, _ := f.Name(nil, sfnt.NameIDFamily) // one without a name is like any other
		if chosen == nil || strings.Contains(name, " SC") && !strings.Contains(name, "Mono") {
			chosen = f
		}
	}
	if chosen == nil {
		return nil, errors.New("it has no Chinese characters")
	}
	return chosen, nil
}

// draws reports whether a font has a shape for every character: one that is only
// named in its index would leave a gap.
func draws(f *sfnt.Font, s string) bool {
	var b sfnt.Buffer
	for _, r := range s {
		i, err := f.GlyphIndex(&b, r)
		if err != nil || i == 0 {
			return false
		}
		shape, err := f.LoadGlyph(&b, i, 64<<6, nil)
		if err != nil || len(shape) == 0 && r != ' ' {
			return false
		}
	}
	return true
}

// style is how a text is drawn.
func (l *lettering) style(size vg.Length, c color.Color, weight stdfont.Weight, x text.XAlignment, y text.YAlignment) text.Style {
	s := text.Style{Color: c, XAlign: x, YAlign: y, Handler: plot.DefaultTextHandler,
		Font: font.Font{Typeface: "Liberation", Variant: "Sans", Weight: weight, Size: size}}
	if l.face != nil {
		s.Handler, s.Font.Typeface, s.Font.Variant = levelled{text.Plain{Fonts: l.face.fonts}}, "Chinese", ""
	}
	return s
}

// levelled draws text as high as gonum's own font does: fonts with Chinese
// characters ask for much more room above and below, for which the pictures are not
// laid out.
type levelled struct{ text.Plain }

// What gonum's own font asks for, in units of its size.
const latinAscent, latinDescent, latinHeight = 0.905, 0.212, 1.149

// Extents implements text.Handler.
func (h levelled) Extents(f font.Font) font.Extents {
	return font.Extents{Ascent: latinAscent * f.Size, Descent: latinDescent * f.Size, Height: latinHeight * f.Size}
}

// Box implements text.Handler.
func (h levelled) Box(s string, f font.Font) (width, height, depth vg.Length) {
	width, _, _ = h.Plain.Box(s, f)
	return width, latinAscent * f.Size, latinDescent * f.Size
}

// Draw implements text.Handler.
func (h levelled) Draw(c vg.Canvas, s string, sty text.Style, at vg.Point) {
	at.Y += h.Plain.Extents(sty.Font).Ascent - latinAscent*sty.Font.Size
	h.Plain.Draw(c, s, sty, at)
}

// text replaces what the picture's font cannot draw: such glyphs would vanish
// without a trace.
func (l *lettering) text(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case l.face != nil && r >= ' ':
			var b sfnt.Buffer
			if i, err := l.face.regular.GlyphIndex(&b, r); err == nil && i != 0 {
				return r
			}
			return '?'
		case r < ' ' || r > 0x24F && (r < 0x2010 || r > 0x2027):
			return '?'
		}
		return r
	}, s)
}
