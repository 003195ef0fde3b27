// Command release builds everything that a release of capfind consists of, from
// a clean checkout, into an empty directory:
//
//	capfind_VERSION_OS_ARCH.tar.gz   static binary and its papers (.zip for Windows)
//	capfind_VERSION_OS_ARCH.cdx.json what is inside the binary, as a CycloneDX SBOM
//	capfind_VERSION_oci.tar          container image for linux, OCI layout, no daemon needed
//	SHA256SUMS                       checksums of all of these
//
// The same commit built with the same Go release gives the same bytes, wherever
// and whenever: paths are trimmed, the only time stamp is the commit's (or
// SOURCE_DATE_EPOCH), and names, owners and order in archives are fixed.
//
//	go -C packaging run ./release -out ../dist
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// platforms are the targets of a release.
var platforms = []platform{
	{"linux", "amd64"}, {"linux", "arm64"},
	{"darwin", "amd64"}, {"darwin", "arm64"},
	{"windows", "amd64"}, {"windows", "arm64"},
}

func main() {
	var r release
	var only string
	flag.StringVar(&r.root, "root", "..", "checkout to build")
	flag.StringVar(&r.out, "out", "../dist", "directory for the results; must be empty or not exist")
	flag.StringVar(&r.name, "name", "capfind", "name of the program: cmd/NAME in the checkout")
	flag.StringVar(&only, "platforms", "", "comma-separated OS/ARCH pairs; empty: all")
	flag.BoolVar(&r.dirty, "allow-dirty", false, "build uncommitted changes too; the result cannot be reproduced")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	err := r.choose(only)
	if err == nil {
		err = r.run(ctx)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

// papersOfProgram are what the program itself prints to go into the archives.
var papersOfProgram = []struct {
	args string
	name string // %s: the program
}{
	{"completion bash", "completions/%s.bash"},
	{"completion zsh", "completions/_%s"},
	{"completion fish", "completions/%s.fish"},
	{"man", "man/%s.1"},
}

// release is one build of everything.
type release struct {
	root, out, name string
	dirty           bool
	platforms       []platform
}

// choose reads the -platforms flag.
func (r *release) choose(only string) error {
	if only == "" {
		r.platforms = platforms
		return nil
	}
	for _, s := range strings.Split(only, ",") {
		goos, arch, ok := strings.Cut(s, "/")
		if !ok || goos == "" || arch == "" {
			return fmt.Errorf("-platforms: %q is not OS/ARCH, e.g. linux/amd64", s)
		}
		r.platforms = append(r.platforms, platform{goos, arch})
	}
	return nil
}

func (r *release) run(ctx context.Context) error {
	if err := emptyDir(r.out); err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "release")
	if err != nil {
		return err
	}
	defer os.RemoveAll(work)
	if err := r.checkout(ctx, work); err != nil {
		return err
	}
	var built []binary
	for _, p := range r.platforms {
		b, err := r.build(ctx, p, work)
		if err != nil {
			return err
		}
		built = append(built, b)
	}
	papers, err := r.papers()
	if err != nil {
		return err
	}
	generated, err := r.generated(ctx, built, work)
	if err != nil {
		return err
	}
	papers = append(papers, generated...)
	for _, b := range built {
		if err := r.pack(b, papers); err != nil {
			return fmt.Errorf("%s: %w", b.platform, err)
		}
		if err := writeSBOM(r.path(b.platform.suffix()+".cdx.json", b.version), b); err != nil {
			return fmt.Errorf("%s: %w", b.platform, err)
		}
	}
	if err := r.image(built, work); err != nil {
		return fmt.Errorf("image: %w", err)
	}
	return writeSums(r.out)
}

// path names a result.
func (r *release) path(suffix, version string) string {
	return filepath.Join(r.out, r.name+"_"+version+"_"+suffix)
}

// emptyDir makes the directory, and refuses one that holds something: a release
// never mixes with an older one.
func emptyDir(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return os.MkdirAll(dir, 0o755)
	}
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("%s is not empty; remove it first or give another -out", dir)
	}
	return nil
}

// stamp returns the one time stamp of a release: SOURCE_DATE_EPOCH where it is
// set, else the commit's.
func stamp(commit time.Time) (time.Time, error) {
	s := os.Getenv("SOURCE_DATE_EPOCH")
	if s == "" {
		return commit.UTC(), nil
	}
	sec, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q; want seconds since 1970", s)
	}
	return time.Unix(sec, 0).UTC(), nil
}
