package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/urfave/cli/v2"
)

// build says which program this is.
type build struct {
	version  string // of the module, from the tag or commit it was built at
	revision string // of the source; empty where it was not recorded
	modified bool   // the source differed from the revision
}

func version() build {
	b := build{version: "devel"}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			switch s.Key {
			case "vcs.revision":
				b.revision = s.Value
			case "vcs.modified":
				b.modified = s.Value == "true"
			}
		}
		if v := info.Main.Version; v != "" && v != "(devel)" {
			b.version = v
		}
	}
	return b
}

// String writes version, revision and platform on one line.
func (b build) String() string {
	s := "capfind " + b.version
	if b.revision != "" {
		s += " (revision " + b.revision[:min(12, len(b.revision))]
		if b.modified {
			s += ", modified"
		}
		s += ")"
	}
	return fmt.Sprintf("%s %s %s/%s", s, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func (a *app) versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print version, revision and platform",
		Action: func(c *cli.Context) error {
			if _, err := arguments(c, 0, 0, "no arguments"); err != nil {
				return err
			}
			return a.print(version().String() + "\n")
		},
	}
}
