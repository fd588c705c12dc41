// Command bench measures Meshpass and other libraries with the same key and the same
// tokens, in turns, in one process. It prints a table in Markdown.
//
// With -write FOLDER it also replaces the table in the README.md of that folder, and
// draws the plot bench.svg beside it.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	rounds := flag.Int("rounds", 2000, "how often each library does each operation")
	folder := flag.String("write", "", "folder for the plot, and with the README.md that gets the table")
	flag.Parse()
	if err := run(*rounds, *folder); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(rounds int, folder string) error {
	if flag.NArg() > 0 {
		return fmt.Errorf("found the argument %q, wanted options only", flag.Arg(0))
	}
	if rounds < 10 {
		return fmt.Errorf("found %d rounds, wanted at least 10", rounds)
	}
	results, err := measure(rounds)
	if err != nil {
		return err
	}
	text := table(results)
	fmt.Print(text)
	if folder == "" {
		return nil
	}
	if err := replaceTable(filepath.Join(folder, "README.md"), text); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(folder, "bench.svg"), []byte(plot(results)), 0o644)
}
