// Command testreport makes the output of "go test -json" short. It reads it from standard
// input and prints the closing line of each package, what failed tests printed, cut to a
// sensible length, and how many tests passed, failed and were skipped. It appends the
// tests that were skipped, with the reason, to the file of -skipped. It exits with
// status 1 if something failed.
//
//	go test -json ./... | testreport -skipped FILE
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	skipped := flag.String("skipped", "", "`file` to which the skipped tests are appended")
	flag.Parse()
	r := newReport(os.Stdout)
	err := r.read(os.Stdin)
	if err == nil && *skipped != "" {
		err = appendTo(*skipped, r.skippedLines())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(1)
	}
	if r.hasFailed() {
		os.Exit(1)
	}
}

func appendTo(name, text string) error {
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	if _, err := file.WriteString(text); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
