// Package store keeps results: a result directory holds one, complete and valid at
// any moment.
package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/capfind/capfind/analysis"
	"github.com/capfind/capfind/loadgen"
	"github.com/capfind/capfind/sweep"
)

// The files of a result directory that a Store keeps.
const (
	ResultFile  = "result.json"
	SamplesFile = "samples.jsonl.gz"
)

const (
	filePerm = 0o644
	dirPerm  = 0o755
)

// Store is a result directory: a Journal that loses nothing. The result is
// replaced as a whole, so that what is on disk is complete and valid at any
// moment; samples are appended step by step, before the result that speaks of
// them.
type Store struct {
	dir     string
	samples *archive
}

// Create makes a result directory. One that exists must be empty, for what was
// measured before is never overwritten.
func Create(dir string) (*Store, error) {
	if err := os.MkdirAll(dir, dirPerm); err != nil {
		return nil, fmt.Errorf("making the result directory: %w", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("reading the result directory: %w", err)
	}
	if len(entries) > 0 {
		return nil, fmt.Errorf("the result directory %s is not empty (it holds %s): choose another one, or go on with what it holds by --resume %s",
			dir, entries[0].Name(), dir)
	}
	return openStore(dir, 0)
}

// Open opens the result directory of a run that was interrupted, to go on with
// it. Samples of a step that is not in its result, and a last piece that was
// torn when the run was killed, are cut off.
func Open(dir string) (*Store, *sweep.Result, error) {
	r, err := Load(dir)
	if err != nil {
		return nil, nil, err
	}
	s, err := openStore(dir, len(r.Steps))
	if err != nil {
		return nil, nil, err
	}
	return s, r, nil
}

func openStore(dir string, steps int) (*Store, error) {
	samples, err := openArchive(filepath.Join(dir, SamplesFile), steps)
	if err != nil {
		return nil, err
	}
	return &Store{dir: dir, samples: samples}, nil
}

// Dir returns the directory.
func (s *Store) Dir() string { return s.dir }

// Close closes the files.
func (s *Store) Close() error { return s.samples.close() }

// SaveStep appends the step's samples and then replaces the result.
func (s *Store) SaveStep(r *sweep.Result, step *analysis.Step, runs []loadgen.Run) error {
	if err := s.samples.append(len(r.Steps)-1, runs); err != nil {
		return err
	}
	return s.Save(r)
}

// Save replaces the result on disk.
func (s *Store) Save(r *sweep.Result) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding the result: %w", err)
	}
	return WriteFile(filepath.Join(s.dir, ResultFile), append(data, '\n'))
}

// WriteFile replaces a file as a whole: readers see the old one or the new one
// and after a power cut one of both is there, never a part. It writes under a
// temporary name in the same directory, syncs, and renames.
func WriteFile(path string, data []byte) error {
	temp := filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".tmp")
	err := replace(path, temp, data)
	if err == nil {
		return nil
	}
	// The temporary name means nothing to who reads the message.
	var at *fs.PathError
	if errors.As(err, &at) {
		err = at.Err
	}
	return fmt.Errorf("writing %s: %w", path, err)
}

func replace(path, temp string, data []byte) (err error) {
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, filePerm)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			os.Remove(temp)
		}
	}()
	_, err = f.Write(data)
	err = errors.Join(err, syncFile(f, err), f.Close())
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncFile syncs unless writing failed already.
func syncFile(f *os.File, failed error) error {
	if failed != nil {
		return nil
	}
	return f.Sync()
}

// syncDir makes a rename last. Windows has no such call and needs none.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Load reads a result: a result directory or the file result.json itself.
func Load(path string) (*sweep.Result, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, syscall.ENOENT)
	}
	if err != nil {
		return nil, fmt.Errorf("reading a result: %w", err)
	}
	if info.IsDir() {
		path = filepath.Join(path, ResultFile)
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading a result: %s is missing: %s is no result directory, or its run was ended before the first step", path, filepath.Dir(path))
	}
	if err != nil {
		return nil, fmt.Errorf("reading a result: %w", err)
	}
	r := &sweep.Result{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("reading a result: %s: %s", path, jsonTrouble(data, err))
	}
	switch {
	case r.SchemaVersion == 0:
		return nil, fmt.Errorf("reading a result: %s has no schema_version, so it is not a result of capfind", path)
	case r.SchemaVersion > sweep.SchemaVersion:
		return nil, fmt.Errorf("reading a result: %s has schema version %d, but this capfind knows up to %d: use a newer one", path, r.SchemaVersion, sweep.SchemaVersion)
	}
	return r, nil
}

// jsonTrouble says where in the file an error lies.
func jsonTrouble(data []byte, err error) string {
	at := int64(-1)
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case len(bytes.TrimSpace(data)) == 0:
		return "the file is empty"
	case errors.As(err, &syntax):
		at = syntax.Offset
	case errors.As(err, &kind):
		at = kind.Offset
	}
	if at < 0 || at > int64(len(data)) {
		return err.Error()
	}
	return fmt.Sprintf("line %d: %v", 1+bytes.Count(data[:at], []byte("\n")), err)
}
