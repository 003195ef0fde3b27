// Capfind finds out how many concurrent requests an LLM deployment can take, how
// sure that is, what stops it there, and what production should be set to.
//
//	capfind sweep config.yaml
//
// drives the server up the guide's ladder of concurrencies, searches the exact
// limit between the last good and the first bad step, and writes a report.
// capfind help lists the other commands.
package main

import "os"

func main() {
	os.Exit(run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
