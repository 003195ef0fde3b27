package main

import (
	"bytes"
	"encoding/pem"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// nonroot is the user that the program runs as: the number that distroless
// images use, so that a cluster's policies know it.
const nonroot = 65532

// image writes a multi-platform container image of the linux binaries: the
// program, Mozilla's root certificates, and nothing else: no shell, no package
// manager, no distribution to keep patched.
func (r *release) image(built []binary, work string) error {
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	version := ""
	var date = built[0].date
	for _, b := range built {
		if b.platform.os != "linux" {
			continue
		}
		img, err := r.platformImage(b)
		if err != nil {
			return err
		}
		version = b.version
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: b.platform.os, Architecture: b.platform.arch}}})
	}
	if version == "" {
		return nil // no linux binary, no image
	}
	dir := filepath.Join(work, "oci")
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{
		"org.opencontainers.image.ref.name": version,
		"io.containerd.image.name":          "docker.io/library/" + r.name + ":" + tag(version),
	})); err != nil {
		return err
	}
	entries, err := readTree(dir)
	if err != nil {
		return err
	}
	return create(r.path("oci.tar", version), func(w io.Writer) error { return writeTar(w, entries, date) })
}

// tag makes a version a valid tag: a tag knows no plus sign.
func tag(version string) string {
	return string(bytes.ReplaceAll([]byte(version), []byte("+"), []byte("-")))
}

func (r *release) platformImage(b binary) (v1.Image, error) {
	program, err := os.ReadFile(b.path)
	if err != nil {
		return nil, err
	}
	var files bytes.Buffer
	if err := writeTar(&files, rootFS(r.name, program), b.date); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(files.Bytes())), nil
	}, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, err
	}
	created := v1.Time{Time: b.date}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer, MediaType: types.OCILayer,
		History: v1.History{Created: created, CreatedBy: "release", Comment: "program, certificates, user"}})
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = b.platform.os, b.platform.arch, created
	file.Config = v1.Config{
		Entrypoint: []string{"/" + r.name},
		Cmd:        []string{"--help"},
		User:       "65532:65532",
		WorkingDir: "/results",
		Env:        []string{"PATH=/", "HOME=/results", "SSL_CERT_FILE=" + certificates},
		Labels: map[string]string{
			"org.opencontainers.image.title":    r.name,
			"org.opencontainers.image.version":  b.version,
			"org.opencontainers.image.revision": b.revision,
			"org.opencontainers.image.source":   "https://" + b.info.Main.Path,
		},
	}
	return mutate.ConfigFile(img, file)
}

const certificates = "/etc/ssl/certs/ca-certificates.crt"

// rootFS is the whole file system of the image.
func rootFS(name string, program []byte) []entry {
	dir := fs.ModeDir | 0o755
	return []entry{
		{name: "etc", mode: dir},
		{name: "etc/passwd", mode: 0o644, body: []byte("root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/results:/none\n")},
		{name: "etc/group", mode: 0o644, body: []byte("root:x:0:\nnonroot:x:65532:\n")},
		{name: "etc/ssl", mode: dir},
		{name: "etc/ssl/certs", mode: dir},
		{name: certificates[1:], mode: 0o644, body: rootCertificates()},
		{name: "results", mode: fs.ModeDir | 0o755, uid: nonroot},
		{name: "tmp", mode: fs.ModeDir | fs.ModeSticky | 0o777},
		{name: name, mode: 0o755, body: program},
	}
}

// rootCertificates returns Mozilla's roots, from a module whose content go.sum
// fixes, so that the image does not depend on the machine that builds it. Roots
// that are trusted under a constraint only are left out: PEM cannot say so.
func rootCertificates() []byte {
	var out [][]byte
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}))
		}
	}
	slices.SortFunc(out, bytes.Compare)
	return bytes.Join(out, nil)
}

// readTree reads a directory as archive entries, in order of name.
func readTree(dir string) ([]entry, error) {
	var out []entry
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		e := entry{name: filepath.ToSlash(rel), mode: fs.ModeDir | 0o755}
		if !d.IsDir() {
			e.mode = 0o644
			if e.body, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		out = append(out, e)
		return nil
	})
	return out, err
}
