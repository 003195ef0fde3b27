// Package flags makes a command line out of what a user types, and settings of the
// configuration out of flags and environment.
package flags

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/config"
)

// UsageError is a command line that cannot be carried out as it stands.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

func (e UsageError) Unwrap() error { return e.Err }

// Usagef words a UsageError.
func Usagef(format string, args ...any) error { return UsageError{fmt.Errorf(format, args...)} }

// Reorder moves flags before positional arguments. The library stops reading
// flags at the first positional argument and silently ignores the rest, so that
// "capfind sweep config.yaml --quiet" would not be quiet. What no flag of the
// command explains is refused here, with the nearest name that would.
func Reorder(c *cli.App, args []string) ([]string, error) {
	if len(args) < 2 {
		return args, nil
	}
	name := args[1]
	if strings.HasPrefix(name, "-") {
		switch name {
		case "-h", "--help", "-help", "-v", "--version", "-version":
			return args[:2], nil
		}
		return nil, Usagef("the command comes first: capfind COMMAND %s; `capfind help` lists the commands", name)
	}
	if name == "help" || name == "h" {
		return helpArgs(c, args)
	}
	command := c.Command(name)
	if command == nil {
		return nil, unknownCommand(c, name)
	}
	flags, positional, err := split(command, args[2:])
	if err != nil {
		return nil, err
	}
	for _, help := range []string{"--help", "-help", "-h"} {
		if slices.Contains(flags, help) {
			return []string{args[0], name, "--help"}, nil
		}
	}
	out := append([]string{args[0], name}, flags...)
	return append(append(out, "--"), positional...), nil
}

// helpArgs turns "help COMMAND" into "COMMAND --help".
func helpArgs(c *cli.App, args []string) ([]string, error) {
	if len(args) == 2 {
		return []string{args[0], "--help"}, nil
	}
	if c.Command(args[2]) == nil {
		return nil, unknownCommand(c, args[2])
	}
	return []string{args[0], args[2], "--help"}, nil
}

func unknownCommand(c *cli.App, name string) error {
	var names []string
	for _, command := range c.Commands {
		names = append(names, command.Name)
	}
	if strings.HasSuffix(name, ".yaml") || strings.HasSuffix(name, ".yml") {
		return Usagef("%q is no command; to test with this configuration: capfind sweep %s", name, name)
	}
	if near := config.Closest(name, names); near != "" {
		return Usagef("%q is no command; did you mean %s?", name, near)
	}
	return Usagef("%q is no command; there are %s", name, strings.Join(names, ", "))
}

// split separates a command's flags, with their values, from its positional
// arguments. After -- everything is positional; a lone - is, too.
func split(command *cli.Command, args []string) (flags, positional []string, err error) {
	known := map[string]cli.Flag{"help": nil, "h": nil}
	var names []string
	for _, f := range command.Flags {
		for _, name := range f.Names() {
			known[name] = f
			if len(name) > 1 {
				names = append(names, name)
			}
		}
	}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		if arg == "--" {
			return flags, append(positional, args[i+1:]...), nil
		}
		if len(arg) < 2 || arg[0] != '-' {
			positional = append(positional, arg)
			continue
		}
		name, _, hasValue := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		f, ok := known[name]
		if !ok {
			if name == "api-key" || name == "key" || name == "token" {
				return nil, nil, Usagef("there is no flag %s, for others can read a command line: export the key as OPENAI_API_KEY, or name its variable with --api-key-env or its file with --api-key-file", Dashed(name))
			}
			if near := config.Closest(name, names); near != "" {
				return nil, nil, Usagef("unknown flag %s; did you mean --%s?", Dashed(name), near)
			}
			return nil, nil, Usagef("unknown flag %s; `capfind %s --help` lists the flags", Dashed(name), command.Name)
		}
		flags = append(flags, arg)
		if _, isBool := f.(*cli.BoolFlag); isBool || f == nil || hasValue {
			continue
		}
		if i++; i == len(args) {
			return nil, nil, Usagef("%s needs a value", Dashed(name))
		}
		flags = append(flags, args[i])
	}
	return flags, positional, nil
}

// Dashed is a flag as it is typed.
func Dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}
