package main

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "/" + p.arch }
func (p platform) suffix() string { return p.os + "_" + p.arch }

// binary is a built program and what Go wrote into it.
type binary struct {
	platform platform
	path     string
	info     *debug.BuildInfo
	version  string // without the leading v
	revision string
	date     time.Time
}

// checkout replaces the root by a fresh clone of its commit: what lies around
// beside it, and how it was checked out, must not get into a release. It refuses
// a root whose changes would be left out that way. With -allow-dirty the root is
// built as it is.
func (r *release) checkout(ctx context.Context, work string) error {
	if r.dirty {
		return nil
	}
	changes, err := git(ctx, r.root, "status", "--porcelain", "--untracked-files=no")
	if err != nil {
		return err
	}
	if changes != "" {
		return fmt.Errorf("the checkout has uncommitted changes; commit them or give -allow-dirty:\n%s", changes)
	}
	top, err := git(ctx, r.root, "rev-parse", "--show-toplevel")
	if err != nil {
		return err
	}
	clone := filepath.Join(work, "checkout")
	if _, err := git(ctx, r.root, "clone", "--quiet", "--no-hardlinks", strings.TrimSpace(top), clone); err != nil {
		return err
	}
	r.root = clone
	return nil
}

func git(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w\n%s", args[0], err, complaint.String())
	}
	return string(out), nil
}

// build compiles one static binary.
func (r *release) build(ctx context.Context, p platform, work string) (binary, error) {
	b := binary{platform: p, path: filepath.Join(work, r.name+"_"+p.suffix())}
	out, err := filepath.Abs(b.path)
	if err != nil {
		return b, err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=true", "-mod=readonly",
		"-ldflags=-s -w", "-o", out, "./cmd/"+r.name)
	cmd.Dir = r.root
	// Whatever the machine has set for itself must not change the result.
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch,
		"GOAMD64=v1", "GOARM64=v8.0", "GOFLAGS=", "GOEXPERIMENT=", "GOWORK=off", "GODEBUG=")
	if text, err := cmd.CombinedOutput(); err != nil {
		return b, fmt.Errorf("building %s: %w\n%s", p, err, text)
	}
	if b.info, err = buildinfo.ReadFile(b.path); err != nil {
		return b, err
	}
	return b, b.identify()
}

// generated returns what the program prints for its archives. It runs the binary
// of this machine's kind, which is built on top where it was not asked for.
func (r *release) generated(ctx context.Context, built []binary, work string) ([]entry, error) {
	here := platform{runtime.GOOS, runtime.GOARCH}
	i := slices.IndexFunc(built, func(b binary) bool { return b.platform == here })
	var program string
	if i >= 0 {
		program = built[i].path
	} else {
		b, err := r.build(ctx, here, work)
		if err != nil {
			return nil, err
		}
		program = b.path
	}
	var out []entry
	for _, p := range papersOfProgram {
		cmd := exec.CommandContext(ctx, program, strings.Fields(p.args)...)
		cmd.Env = []string{"LC_ALL=C"} // nothing of this machine belongs into it
		var complaint bytes.Buffer
		cmd.Stderr = &complaint
		body, err := cmd.Output()
		if err != nil || len(body) == 0 {
			return nil, fmt.Errorf("%s %s printed nothing: %w\n%s", r.name, p.args, err, complaint.String())
		}
		out = append(out, entry{name: fmt.Sprintf(p.name, r.name), mode: 0o644, body: body})
	}
	return out, nil
}

// identify takes version, revision and date from what Go found in the checkout.
func (b *binary) identify() error {
	b.version = strings.TrimPrefix(b.info.Main.Version, "v")
	for _, s := range b.info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.revision = s.Value
		case "vcs.time":
			t, err := time.Parse(time.RFC3339, s.Value)
			if err != nil {
				return err
			}
			b.date = t
		}
	}
	if b.revision == "" {
		return errors.New("the binary knows no revision: build from a git clone (a linked worktree will not do)")
	}
	var err error
	b.date, err = stamp(b.date)
	return err
}
