package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/report"
	"github.com/capfind/capfind/sweep"
	"github.com/capfind/capfind/sweep/store"
)

// isResult reports whether a path is a result directory or its result.json.
func isResult(path string) bool {
	if filepath.Base(path) == store.ResultFile {
		return true
	}
	_, err := os.Stat(filepath.Join(path, store.ResultFile))
	return err == nil
}

// readResult reads a result of capfind. A path that leads to none is a matter of
// usage; a result that is damaged is a failure.
func readResult(path string) (*sweep.Result, error) {
	r, err := store.Load(path)
	if err != nil && (errors.Is(err, fs.ErrNotExist) || !isResult(path)) {
		return nil, flags.UsageError{Err: err}
	}
	return r, err
}

// loadResult reads whatever holds a result: a result directory, its result.json,
// a file of vLLM's benchmark, or a directory of such files as the guide's script
// leaves it.
func loadResult(path string) (*sweep.Result, error) {
	if isResult(path) {
		return readResult(path)
	}
	files, err := vllmFiles(path)
	if err != nil {
		return nil, err
	}
	return report.FromVLLM(files)
}

// vllmFiles lists the files of vLLM's benchmark that a path stands for.
func vllmFiles(path string) ([]string, error) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, usagef("%s: no such file or directory", path)
	case err != nil:
		return nil, err
	case !info.IsDir():
		return []string{path}, nil
	}
	files, err := filepath.Glob(filepath.Join(path, "concurrency_*.json"))
	if err == nil && len(files) == 0 {
		files, err = filepath.Glob(filepath.Join(path, "*.json"))
	}
	if err == nil && len(files) == 0 {
		return nil, usagef("%s holds neither a %s nor JSON files of vLLM's benchmark", path, store.ResultFile)
	}
	return files, err
}

// nameOf is what a result is called beside others.
func nameOf(path string) string {
	clean := filepath.Clean(path)
	if filepath.Base(clean) == store.ResultFile {
		clean = filepath.Dir(clean)
	}
	if abs, err := filepath.Abs(clean); err == nil {
		clean = abs
	}
	return strings.TrimSuffix(filepath.Base(clean), ".json")
}

// freshDirectory names a directory that does not exist yet: the name and the
// time, and a number where another of the same second has taken that.
func freshDirectory(parent, name string) (string, error) {
	base := filepath.Join(parent, name+"-"+time.Now().UTC().Format("20060102T150405Z"))
	dir := base
	for n := 2; ; n++ {
		_, err := os.Lstat(dir)
		if errors.Is(err, fs.ErrNotExist) {
			return dir, nil
		}
		if err != nil {
			return "", fmt.Errorf("no result directory can be made: %w", err)
		}
		dir = fmt.Sprintf("%s-%d", base, n)
	}
}

// checkPlace finds out whether a directory, or the nearest one above it that is
// there, takes new files, before a server is asked anything. It leaves no trace.
func checkPlace(dir string) error {
	at := filepath.Clean(dir)
	info, err := os.Stat(at)
	for (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) && filepath.Dir(at) != at {
		at = filepath.Dir(at)
		info, err = os.Stat(at)
	}
	var f *os.File
	switch {
	case err != nil:
	case !info.IsDir():
		err = fmt.Errorf("%s is a file", at)
	default:
		if f, err = os.CreateTemp(at, ".capfind-*"); err == nil {
			err = errors.Join(f.Close(), os.Remove(f.Name()))
		}
	}
	if err == nil {
		return nil
	}
	// The name of the file that was tried means nothing to who reads the message.
	var tried *fs.PathError
	if errors.As(err, &tried) {
		err = fmt.Errorf("%s: %w", at, tried.Err)
	}
	return fmt.Errorf("no results can be stored in %s: %w; choose another place with --output-dir", dir, err)
}

// fromResult loads the result that --from names, nil without one.
func fromResult(c *cli.Context) (*sweep.Result, error) {
	path := c.String("from")
	if path == "" {
		return nil, nil
	}
	return readResult(path)
}
