package flags

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"github.com/capfind/capfind/internal/config"
)

// Section is a part of the configuration whose keys a command takes as flags.
type Section = string

// keyFlag is a flag that sets a key of the configuration.
type keyFlag struct {
	name string // without dashes
	key  config.Key
}

// keyFlags lists the flags of the given sections. Where two keys would have the
// same flag, the section named first has it.
func keyFlags(sections ...Section) []keyFlag {
	var out []keyFlag
	taken := map[string]bool{}
	for _, s := range sections {
		for _, k := range config.Keys() {
			if !belongs(k, s) {
				continue
			}
			if name := config.FlagName(k.Path); !taken[name] {
				taken[name] = true
				out = append(out, keyFlag{name, k})
			}
		}
	}
	return out
}

// Simulator is the section whose keys have flags only where a simulator is all
// that is configured; elsewhere one flag takes the whole section as YAML.
const Simulator Section = "target.simulator"

// Rates is the ladder of capfind rate, no part of a single load.
const Rates Section = "load.rates"

func belongs(k config.Key, s Section) bool {
	switch {
	case k.Path == Simulator:
		return s == "target"
	case k.Path == Rates: // of one command only
		return s == Rates
	case strings.HasPrefix(k.Path, "load.goodput"):
		return k.Section && s == "load"
	case k.Section || strings.HasPrefix(k.Path, Simulator+".") && s != Simulator:
		return false
	}
	return k.Path == s || strings.HasPrefix(k.Path, s+".")
}

// shortNames are further names of flags that are typed often.
var shortNames = map[string][]string{
	"load.max_concurrency": {"concurrency", "c"},
	"load.num_prompts":     {"n"},
	"load.request_rate":    {"rate"},
}

// Config are the flags that set keys, and --set for any key.
func Config(sections ...Section) []cli.Flag {
	flags := []cli.Flag{&cli.StringSliceFlag{
		Name: "set", Usage: "set any key of the configuration: `KEY=VALUE`, e.g. stop.max_ttft=500ms; may be repeated",
	}}
	all := keyFlags(sections...)
	for _, kf := range all {
		category, _, _ := strings.Cut(strings.TrimPrefix(kf.key.Path, "target.simulator."), ".")
		if strings.HasPrefix(kf.key.Path, "target.simulator.") {
			category = "simulator"
		}
		usage := usageOf(kf.key)
		switch {
		case repeated[kf.key.Path].overrides != nil:
			flags = append(flags, &cli.StringSliceFlag{Name: kf.name, Category: category, Usage: repeated[kf.key.Path].usage})
		case kf.key.Bool:
			flags = append(flags, &cli.BoolFlag{Name: kf.name, Usage: usage, Category: category, DisableDefaultText: true})
		default:
			flags = append(flags, &cli.StringFlag{Name: kf.name, Aliases: aliases(kf.key.Path, all), Usage: usage, Category: category})
		}
	}
	return flags
}

// aliases are the further names of a key's flag that no other flag of the same
// command has: --concurrency is the ladder of a sweep and the load of a run.
func aliases(path string, all []keyFlag) []string {
	return slices.DeleteFunc(slices.Clone(shortNames[path]), func(name string) bool {
		return slices.ContainsFunc(all, func(kf keyFlag) bool { return kf.name == name })
	})
}

func usageOf(k config.Key) string {
	usage := k.Doc
	if k.Default != "" && k.Default != "0" && k.Default != "0s" && k.Default != "false" {
		usage += " (default: " + k.Default + ")"
	}
	return usage
}

// repeatedFlag is a flag that may be given several times and has a short form
// of its own.
type repeatedFlag struct {
	usage string
	// overrides turns the values into what they set; o names the flag and key.
	overrides func(o config.Override, values []string) ([]config.Override, error)
}

var repeated = map[string]repeatedFlag{
	"target.headers": {"extra request header, as in `NAME:VALUE`; ${VARIABLE} in it is replaced by the environment; may be repeated", pairs},
	"load.goodput":   {"count requests as good that meet `METRIC:TIME`, e.g. ttft:500ms; may be repeated", pairs},
	"stop.slo":       {"require `[STATISTIC_]METRIC:LIMIT`, e.g. p99_ttft:2s or tokens_per_second:20; may be repeated; replaces the file's", slos},
}

// pairs sets a key below the flag's own for each NAME:VALUE.
func pairs(o config.Override, values []string) ([]config.Override, error) {
	var out []config.Override
	for _, text := range values {
		name, value, ok := strings.Cut(text, ":")
		if !ok {
			return nil, Usagef("%s needs NAME:VALUE", o.Source)
		}
		out = append(out, config.Override{Source: o.Source, Key: o.Key + "." + strings.TrimSpace(name), Value: strings.TrimSpace(value)})
	}
	return out, nil
}

// slos writes requirements such as p99_ttft:2s as the list that a file holds.
func slos(o config.Override, values []string) ([]config.Override, error) {
	var list []string
	for _, text := range values {
		name, limit, ok := strings.Cut(text, ":")
		if !ok {
			return nil, Usagef("%s needs [STATISTIC_]METRIC:LIMIT, as in p99_ttft:2s, not %q", o.Source, text)
		}
		slo := "{"
		if statistic, metric, ok := strings.Cut(name, "_"); ok && slices.Contains(config.Choices("stop.ttft_statistic"), statistic) {
			slo += "statistic: " + statistic + ", "
			name = metric
		}
		bound := "max"
		if name == "tokens_per_second" {
			bound = "min"
		}
		list = append(list, slo+"metric: "+plainScalar(name)+", "+bound+": "+plainScalar(limit)+"}")
	}
	o.Value = "[" + strings.Join(list, ", ") + "]"
	return []config.Override{o}, nil
}

// plainScalar keeps what would end a YAML scalar out of it.
func plainScalar(text string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("{}[],:#&*!|>'\"%@`\n", r) {
			return '_'
		}
		return r
	}, text)
}

// Overrides gathers what the environment and the flags set, the environment
// first, so that flags win.
func Overrides(c *cli.Context, args []string, getenv func(string) string, sections ...Section) ([]config.Override, error) {
	out := environment(getenv, sections...)
	for _, kf := range keyFlags(sections...) {
		if !c.IsSet(kf.name) {
			continue
		}
		o := config.Override{Source: typed(args, kf), Key: kf.key.Path}
		switch {
		case repeated[kf.key.Path].overrides != nil:
			all, err := repeated[kf.key.Path].overrides(o, c.StringSlice(kf.name))
			if err != nil {
				return nil, err
			}
			out = append(out, all...)
			continue
		case kf.key.Bool:
			o.Value = "false"
			if c.Bool(kf.name) {
				o.Value = "true"
			}
		default:
			o.Value = c.String(kf.name)
		}
		out = append(out, o)
	}
	for _, set := range c.StringSlice("set") {
		key, value, ok := strings.Cut(set, "=")
		if !ok {
			return nil, Usagef("--set needs KEY=VALUE, as in --set stop.max_ttft=500ms, not %q", set)
		}
		out = append(out, config.Override{Source: "--set", Key: strings.TrimSpace(key), Value: value})
	}
	return out, nil
}

// typed is the name under which a flag was given on the command line, which the
// library forgets: messages should name what was typed.
func typed(args []string, kf keyFlag) string {
	for _, arg := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
		if strings.HasPrefix(arg, "-") && slices.Contains(shortNames[kf.key.Path], name) {
			return Dashed(name)
		}
	}
	return "--" + kf.name
}

// environment reads OPENAI_BASE_URL and CAPFIND_ and a flag's name, in that
// order of weight.
func environment(getenv func(string) string, sections ...Section) []config.Override {
	var out []config.Override
	add := func(name, key string) {
		if value := getenv(name); value != "" {
			out = append(out, config.Override{Source: name, Key: key, Value: value})
		}
	}
	add("OPENAI_BASE_URL", "target.base_url")
	for _, kf := range keyFlags(sections...) {
		if repeated[kf.key.Path].overrides == nil {
			add("CAPFIND_"+strings.ToUpper(strings.ReplaceAll(kf.name, "-", "_")), kf.key.Path)
		}
	}
	return out
}
