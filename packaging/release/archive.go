package main

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// entry is one file of an archive. Its date is the release's and its owner root,
// whatever they are on the machine that builds.
type entry struct {
	name string // with slashes
	mode fs.FileMode
	body []byte
	uid  int
}

// papers are the files that go beside the binary, where the checkout has them.
func (r *release) papers() ([]entry, error) {
	var out []entry
	for _, name := range []string{"LICENSE", "NOTICE", "README.md", "CHANGELOG.md"} {
		body, err := os.ReadFile(filepath.Join(r.root, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, entry{name: name, mode: 0o644, body: body})
	}
	return out, nil
}

// pack writes the archive of one binary.
func (r *release) pack(b binary, papers []entry) error {
	body, err := os.ReadFile(b.path)
	if err != nil {
		return err
	}
	program := r.name
	if b.platform.os == "windows" {
		program += ".exe"
	}
	dir := r.name + "_" + b.version + "_" + b.platform.suffix()
	entries := []entry{{name: dir + "/" + program, mode: 0o755, body: body}}
	for _, p := range papers {
		p.name = dir + "/" + p.name
		entries = append(entries, p)
	}
	if b.platform.os == "windows" {
		return create(r.path(b.platform.suffix()+".zip", b.version), func(w io.Writer) error {
			return writeZip(w, entries, b.date)
		})
	}
	return create(r.path(b.platform.suffix()+".tar.gz", b.version), func(w io.Writer) error {
		z, err := gzip.NewWriterLevel(w, gzip.BestCompression) // its header carries no name and no time
		if err != nil {
			return err
		}
		return errors.Join(writeTar(z, entries, b.date), z.Close())
	})
}

func writeTar(w io.Writer, entries []entry, date time.Time) error {
	t := tar.NewWriter(w)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Mode: int64(e.mode.Perm()), Size: int64(len(e.body)),
			ModTime: date, Uid: e.uid, Gid: e.uid, Typeflag: tar.TypeReg, Format: tar.FormatUSTAR}
		if e.mode.IsDir() {
			h.Typeflag = tar.TypeDir
			h.Name += "/"
		}
		if e.mode&fs.ModeSticky != 0 {
			h.Mode |= 0o1000
		}
		if err := t.WriteHeader(h); err != nil {
			return err
		}
		if _, err := t.Write(e.body); err != nil {
			return err
		}
	}
	return t.Close()
}

func writeZip(w io.Writer, entries []entry, date time.Time) error {
	z := zip.NewWriter(w)
	for _, e := range entries {
		h := &zip.FileHeader{Name: e.name, Method: zip.Deflate, Modified: date}
		h.SetMode(e.mode)
		f, err := z.CreateHeader(h)
		if err != nil {
			return err
		}
		if _, err := f.Write(e.body); err != nil {
			return err
		}
	}
	return z.Close()
}

// create writes a file, and leaves none behind where that fails.
func create(path string, write func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := errors.Join(write(f), f.Close()); err != nil {
		os.Remove(path)
		return err
	}
	return nil
}

const sumsFile = "SHA256SUMS"

// writeSums writes the checksums of all results, as sha256sum -c reads them.
func writeSums(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var lines []string
	for _, e := range entries {
		body, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return err
		}
		sum := sha256.Sum256(body)
		lines = append(lines, fmt.Sprintf("%s  %s\n", hex.EncodeToString(sum[:]), e.Name()))
	}
	slices.SortFunc(lines, func(a, b string) int { return strings.Compare(a[66:], b[66:]) })
	return os.WriteFile(filepath.Join(dir, sumsFile), []byte(strings.Join(lines, "")), 0o644)
}
