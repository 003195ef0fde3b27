package main

import (
	"fmt"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/cmd/capfind/flags"
	"github.com/capfind/capfind/internal/config"
)

func (a *app) completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a completion script for bash, zsh or fish",
		ArgsUsage: "bash|zsh|fish",
		Description: "bash: source <(capfind completion bash)\n" +
			"zsh:  source <(capfind completion zsh)\n" +
			"fish: capfind completion fish | source",
		Action: func(c *cli.Context) error {
			args, err := arguments(c, 1, 1, "one of bash, zsh, fish")
			if err != nil {
				return err
			}
			var text string
			switch args[0] {
			case "bash":
				text = bashCompletion(c.App.Commands)
			case "zsh":
				text = "autoload -U +X bashcompinit && bashcompinit\n" + bashCompletion(c.App.Commands)
			case "fish":
				if text, err = c.App.ToFishCompletion(); err != nil {
					return fmt.Errorf("the fish completion could not be made: %w", err)
				}
			default:
				return usagef("no completion for %q; there are bash, zsh and fish", args[0])
			}
			return a.print(text)
		},
	}
}

// bashCompletion writes a script that knows every command, its flags and the
// words that a flag's value can be; zsh understands it, too.
func bashCompletion(commands []*cli.Command) string {
	var b strings.Builder
	b.WriteString("_capfind() {\n" +
		"  local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]}\n" +
		"  local words=\"\"\n" +
		"  case $previous in\n")
	for _, k := range config.Keys() {
		if words := config.Choices(k.Path); len(words) > 0 {
			fmt.Fprintf(&b, "    --%s) words=%q ;;\n", config.FlagName(k.Path), strings.Join(words, " "))
		}
	}
	fmt.Fprintf(&b, "    -o|--format) words=%q ;;\n  esac\n", strings.Join(formats, " "))
	b.WriteString("  if [ -z \"$words\" ]; then\n" +
		"    if [ \"$COMP_CWORD\" -eq 1 ]; then\n" +
		"      words=\"")
	for _, c := range commands {
		b.WriteString(c.Name + " ")
	}
	b.WriteString("help\"\n    else\n      case ${COMP_WORDS[1]} in\n")
	for _, c := range commands {
		var names []string
		for _, f := range c.Flags {
			for _, name := range f.Names() {
				names = append(names, flags.Dashed(name))
			}
		}
		if c.Name == "completion" {
			names = []string{"bash", "zsh", "fish"}
		}
		if c.Name == "trace" {
			names = append(names, traceActions...)
		}
		fmt.Fprintf(&b, "        %s) words=%q ;;\n", c.Name, strings.Join(append(names, "--help"), " "))
	}
	b.WriteString("      esac\n    fi\n  fi\n" +
		"  COMPREPLY=($(compgen -W \"$words\" -- \"$current\"))\n" +
		"}\n" +
		"complete -o default -F _capfind capfind\n")
	return b.String()
}
