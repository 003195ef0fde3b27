// Package terminal shows a measurement to people: how it goes, on stderr, and what
// came of it, on stdout.
package terminal

import (
	"io"
	"os"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/term"
)

// style paints text where the stream is a terminal and NO_COLOR is not set.
type style struct{ on bool }

func styleFor(stream any) style {
	return style{on: Is(stream) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (s style) paint(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) bold(text string) string   { return s.paint("1", text) }
func (s style) dim(text string) string    { return s.paint("2", text) }
func (s style) red(text string) string    { return s.paint("31", text) }
func (s style) green(text string) string  { return s.paint("32", text) }
func (s style) yellow(text string) string { return s.paint("33", text) }

// Is reports whether a stream is a terminal that a line can be
// repainted on.
func Is(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// width returns the columns of the terminal behind a stream; elsewhere what
// COLUMNS says, or 80.
func width(stream io.Writer) int {
	if f, ok := stream.(*os.File); ok {
		if columns, _, err := term.GetSize(int(f.Fd())); err == nil && columns > 0 {
			return columns
		}
	}
	if columns, err := strconv.Atoi(os.Getenv("COLUMNS")); err == nil && columns > 0 {
		return columns
	}
	return 80
}

// fit cuts a line to the width of the terminal, so that repainting it never
// leaves a part of it behind; at a comma where there is one.
func fit(line string, columns int) string {
	if utf8.RuneCountInString(line) < columns {
		return line
	}
	cut := string([]rune(line)[:max(columns-1, 0)])
	if comma := strings.LastIndex(cut, ", "); comma > 0 {
		return cut[:comma]
	}
	return cut
}

// Table lines up rows in columns; numbers to the right, the first column and
// the last to the left.
func Table(rows [][]string) string {
	var widths []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	var b strings.Builder
	for _, row := range rows {
		b.WriteString(strings.TrimRight(aligned(row, widths), " ") + "\n")
	}
	return b.String()
}

// aligned pads the cells of one row.
func aligned(row []string, widths []int) string {
	var b strings.Builder
	for i, cell := range row {
		pad := strings.Repeat(" ", max(widths[i]-utf8.RuneCountInString(cell), 0))
		if i > 0 {
			b.WriteString("  ")
		}
		if i == 0 || i == len(widths)-1 {
			b.WriteString(cell + pad)
		} else {
			b.WriteString(pad + cell)
		}
	}
	return b.String()
}
