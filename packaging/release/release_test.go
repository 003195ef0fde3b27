package main

import (
	"archive/tar"
	"archive/zip"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

// gitIn runs git in dir, whoever and wherever the user is.
func gitIn(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_AUTHOR_NAME=a", "GIT_AUTHOR_EMAIL=a@b.test",
		"GIT_COMMITTER_NAME=a", "GIT_COMMITTER_EMAIL=a@b.test", "GIT_COMMITTER_DATE=2026-01-02T03:04:05Z")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

// project makes a checkout of a small program.
func project(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for name, body := range map[string]string{
		"go.mod":           "module example.test/tiny\n\ngo 1.26\n",
		"cmd/tiny/main.go": "package main\n\nimport (\n\t\"fmt\"\n\t\"os\"\n)\n\nfunc main() { fmt.Println(os.Args[1:]) }\n",
		"README.md":        "# tiny\n",
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(body), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	gitIn(t, dir, "init", "-q")
	gitIn(t, dir, "add", ".")
	gitIn(t, dir, "commit", "-qm", "first")
	gitIn(t, dir, "tag", "v1.2.3")
	return dir
}

func build(t *testing.T, root string) string {
	t.Helper()
	r := release{root: root, out: filepath.Join(t.TempDir(), "dist"), name: "tiny",
		platforms: []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"windows", "amd64"}}}
	if err := r.run(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r.out
}

func sums(t *testing.T, dir string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestTwoBuildsAreIdentical(t *testing.T) {
	origin := project(t)
	first := sums(t, build(t, origin))

	// Elsewhere, later, by someone with other habits.
	clone := filepath.Join(t.TempDir(), "another", "place")
	gitIn(t, ".", "clone", "-q", origin, clone)
	// A stray file that Go would compile.
	if err := os.WriteFile(filepath.Join(clone, "cmd", "tiny", "stray.go"), []byte("package main\n\nfunc init() { println() }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(clone, "README.md"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("TZ", "Asia/Tokyo")
	t.Setenv("GOFLAGS", "-buildvcs=false")
	t.Setenv("GOAMD64", "v3")
	if second := sums(t, build(t, clone)); second != first {
		t.Errorf("not the same:\n%s\n%s", first, second)
	}
	t.Setenv("SOURCE_DATE_EPOCH", "1")
	if third := sums(t, build(t, clone)); third == first {
		t.Error("SOURCE_DATE_EPOCH changed nothing")
	}
}

func TestResults(t *testing.T) {
	dir := build(t, project(t))
	for _, line := range strings.Split(strings.TrimSpace(sums(t, dir)), "\n") {
		sum, name, _ := strings.Cut(line, "  ")
		body, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if got := sha256.Sum256(body); hex.EncodeToString(got[:]) != sum {
			t.Errorf("%s: wrong checksum", name)
		}
	}
	if n := strings.Count(sums(t, dir), "\n"); n != 3+3+1 {
		t.Errorf("%d results, want 3 archives, 3 SBOMs, 1 image", n)
	}
	t.Run("archive", func(t *testing.T) { checkArchive(t, dir) })
	t.Run("zip", func(t *testing.T) { checkZip(t, dir) })
	t.Run("SBOM", func(t *testing.T) { checkSBOM(t, dir) })
	t.Run("image", func(t *testing.T) { checkImage(t, dir) })
}

// untar returns the headers and bodies of a tar file.
func untar(t *testing.T, r io.Reader) (map[string]*tar.Header, map[string][]byte) {
	t.Helper()
	headers, bodies := map[string]*tar.Header{}, map[string][]byte{}
	for tr := tar.NewReader(r); ; {
		h, err := tr.Next()
		if err == io.EOF {
			return headers, bodies
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(tr)
		if err != nil {
			t.Fatal(err)
		}
		headers[h.Name], bodies[h.Name] = h, body
	}
}

func checkArchive(t *testing.T, dir string) {
	f, err := os.Open(filepath.Join(dir, "tiny_1.2.3_linux_amd64.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	headers, bodies := untar(t, z)
	program := headers["tiny_1.2.3_linux_amd64/tiny"]
	if program == nil || program.Mode != 0o755 || program.Uid != 0 || !program.ModTime.Equal(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)) {
		t.Errorf("program: %+v", program)
	}
	if string(bodies["tiny_1.2.3_linux_amd64/README.md"]) != "# tiny\n" {
		t.Error("no README.md")
	}
	if string(bodies["tiny_1.2.3_linux_amd64/completions/_tiny"]) != "[completion zsh]\n" || bodies["tiny_1.2.3_linux_amd64/man/tiny.1"] == nil {
		t.Error("no completions or no man page")
	}
}

func checkZip(t *testing.T, dir string) {
	z, err := zip.OpenReader(filepath.Join(dir, "tiny_1.2.3_windows_amd64.zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	if z.File[0].Name != "tiny_1.2.3_windows_amd64/tiny.exe" {
		t.Errorf("first file: %s", z.File[0].Name)
	}
}

func checkSBOM(t *testing.T, dir string) {
	f, err := os.Open(filepath.Join(dir, "tiny_1.2.3_linux_arm64.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(f, cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	self := bom.Metadata.Component
	if self.PackageURL != "pkg:golang/example.test/tiny@v1.2.3" || len((*self.Hashes)[0].Value) != 64 {
		t.Errorf("component: %+v", self)
	}
	if std := (*bom.Components)[0]; std.Name != "std" || !strings.HasPrefix(std.Version, "1.") {
		t.Errorf("standard library: %+v", std)
	}
}

func checkImage(t *testing.T, dir string) {
	f, err := os.Open(filepath.Join(dir, "tiny_1.2.3_oci.tar"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	headers, bodies := untar(t, f)
	oci := t.TempDir()
	for name, h := range headers {
		path := filepath.Join(oci, name)
		if h.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o755)
		} else if err = os.MkdirAll(filepath.Dir(path), 0o755); err == nil {
			err = os.WriteFile(path, bodies[name], 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	top, err := layout.ImageIndexFromPath(oci)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(top); err != nil { // digests, sizes, media types, layers
		t.Fatal(err)
	}
	topManifest, err := top.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	index, err := top.ImageIndex(topManifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	m, err := index.IndexManifest()
	if err != nil || len(m.Manifests) != 2 {
		t.Fatalf("%d platforms, %v", len(m.Manifests), err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		img, err := index.Image(m.Manifests[i].Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := img.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Architecture != arch || config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/tiny" {
			b, _ := json.Marshal(config)
			t.Errorf("config: %s", b)
		}
		layers, err := img.Layers()
		if err != nil || len(layers) != 1 {
			t.Fatalf("%d layers, %v", len(layers), err)
		}
		r, err := layers[0].Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		files, contents := untar(t, r)
		r.Close()
		if h := files["results/"]; h == nil || h.Uid != nonroot {
			t.Errorf("results: %+v", h)
		}
		if h := files["tmp/"]; h == nil || h.Mode != 0o1777 {
			t.Errorf("tmp: %+v", h)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(contents[certificates[1:]]) {
			t.Error("no certificates")
		}
	}
}

func TestDirtyCheckoutIsRefused(t *testing.T) {
	dir := project(t)
	if err := os.WriteFile(filepath.Join(dir, "README.md"), []byte("changed"), 0o644); err != nil {
		t.Fatal(err)
	}
	r := release{root: dir, out: filepath.Join(t.TempDir(), "dist"), name: "tiny", platforms: platforms[:1]}
	if err := r.run(t.Context()); err == nil || !strings.Contains(err.Error(), "uncommitted") {
		t.Errorf("err = %v", err)
	}
	r.dirty = true
	if err := r.run(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestFullDirectoryIsRefused(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r := release{root: ".", out: dir, name: "tiny", platforms: platforms}
	if err := r.run(context.Background()); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("err = %v", err)
	}
}

func TestChoose(t *testing.T) {
	for only, want := range map[string]string{
		"":                          fmt.Sprint(platforms),
		"linux/arm64":               "[linux/arm64]",
		"linux/arm64,windows/amd64": "[linux/arm64 windows/amd64]",
		"linux":                     "",
		"/":                         "",
	} {
		var r release
		err := r.choose(only)
		if (err != nil) != (want == "") || (err == nil && fmt.Sprint(r.platforms) != want) {
			t.Errorf("%q: %v, %v", only, r.platforms, err)
		}
	}
}

func TestStamp(t *testing.T) {
	t.Setenv("SOURCE_DATE_EPOCH", "yesterday")
	if _, err := stamp(time.Time{}); err == nil {
		t.Error("accepted")
	}
}

func TestUUID(t *testing.T) {
	got := uuid(sha256.Sum256([]byte("x")))
	if len(got) != 36 || got[14] != '8' || !bytes.ContainsAny([]byte(got[19:20]), "89ab") {
		t.Error(got)
	}
}
