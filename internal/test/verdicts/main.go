// Verdicts is a control plane reduced to one question, for scripts that test a directory
// store with several users. It follows the store at its argument. For each line of
// standard input, MESH and the name of a file with a token, it prints "accepted", "refused"
// (invalid) or "unavailable" (could not know). It makes no file.
package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/meshpass/meshpass/dataplane"
	"github.com/meshpass/meshpass/keystore/dir"
	"github.com/meshpass/meshpass/token"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(path string) error {
	store, err := dir.Open(path)
	if err != nil {
		return err
	}
	validator, err := dataplane.NewValidator(store)
	if err != nil {
		return err
	}
	defer validator.Close()
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		mesh, file, _ := strings.Cut(lines.Text(), " ")
		raw, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		_, err = validator.Validate(context.Background(), mesh, strings.TrimSpace(string(raw)))
		switch token.ClassOf(err) {
		case token.Invalid:
			fmt.Println("refused")
		case token.Unavailable:
			fmt.Println("unavailable")
		default:
			if err != nil {
				return err
			}
			fmt.Println("accepted")
		}
	}
	return lines.Err()
}
