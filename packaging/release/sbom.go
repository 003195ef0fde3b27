package main

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// writeSBOM lists what is inside a binary, from what Go itself wrote into it: the
// modules that were linked, not those that go.mod merely mentions.
func writeSBOM(path string, b binary) error {
	body, err := os.ReadFile(b.path)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	bom := cdx.NewBOM()
	// A serial number that follows from the content: the same build, the same SBOM.
	bom.SerialNumber = "urn:uuid:" + uuid(sum)
	self := component(&b.info.Main, cdx.ComponentTypeApplication)
	self.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(sum[:])}}
	self.Properties = &[]cdx.Property{
		{Name: "go:os", Value: b.platform.os},
		{Name: "go:arch", Value: b.platform.arch},
		{Name: "vcs:revision", Value: b.revision},
	}
	bom.Metadata = &cdx.Metadata{Timestamp: b.date.Format(time.RFC3339), Component: &self}

	std := cdx.Component{Type: cdx.ComponentTypeLibrary, Name: "std", Version: strings.TrimPrefix(b.info.GoVersion, "go")}
	std.PackageURL = "pkg:golang/std@" + std.Version
	std.BOMRef = std.PackageURL
	parts := []cdx.Component{std}
	for _, m := range b.info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		parts = append(parts, component(m, cdx.ComponentTypeLibrary))
	}
	refs := make([]string, len(parts))
	for i := range parts {
		refs[i] = parts[i].BOMRef
	}
	bom.Components = &parts
	bom.Dependencies = &[]cdx.Dependency{{Ref: self.BOMRef, Dependencies: &refs}}
	return create(path, func(w io.Writer) error {
		return cdx.NewBOMEncoder(w, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom)
	})
}

func component(m *debug.Module, kind cdx.ComponentType) cdx.Component {
	c := cdx.Component{Type: kind, Name: m.Path, Version: m.Version, PackageURL: purl(m.Path, m.Version)}
	c.BOMRef = c.PackageURL
	// h1: is the SHA-256 of the module's file hashes, as in go.sum.
	if raw, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(m.Sum, "h1:")); err == nil && len(raw) == sha256.Size {
		c.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(raw)}}
	}
	return c
}

// purl writes a package URL; a plus sign, as in +incompatible, is escaped there.
func purl(path, version string) string {
	return "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B")
}

// uuid makes a version 8 (custom) UUID of RFC 9562 out of a hash.
func uuid(sum [sha256.Size]byte) string {
	u := sum[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16])
}
