package httpapi

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"github.com/meshpass/meshpass/revocation"
)

// ProblemHeader is the header field with which the answers to [List], [Revoke] and
// [Restore] name the problems of the revocation list, such as items that look like a list
// in another form: one field line for each problem, in ASCII. There are at most 3, and one
// more that counts the rest, so that no proxy refuses the answer for its size. The answer
// to GET has all of them in its body.
const ProblemHeader = "Meshpass-Problem"

const (
	maxProblems      = 3
	maxProblemLength = 512 // bytes
)

func setProblems(header http.Header, list *revocation.List) {
	problems := list.Problems()
	for i, p := range problems {
		if i == maxProblems {
			header.Add(ProblemHeader, fmt.Sprintf("and more problems of the list: GET has %d in its body", len(problems)))
			return
		}
		header.Add(ProblemHeader, inASCII(p.Error()))
	}
}

// inASCII returns a text in one line of visible ASCII, and escapes the rest as Go does.
func inASCII(text string) string {
	var b strings.Builder
	for _, r := range text {
		if b.Len() > maxProblemLength {
			b.WriteString("...")
			break
		}
		if r >= ' ' && r <= '~' {
			b.WriteRune(r)
		} else {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}
