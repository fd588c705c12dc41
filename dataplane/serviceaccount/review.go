package serviceaccount

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/meshpass/meshpass/token"
)

// reviewTimeout is how long the API server may take to answer.
const reviewTimeout = 5 * time.Second

// review is a positive answer of the API server.
type review struct {
	validator *Validator
	pod       Pod
	audiences []string
	expires   time.Time
	id        string // jti
}

// ask asks the API server about a token that has passed precheck.
func (v *Validator) ask(raw string, c claims) (*review, error) {
	ctx, cancel := context.WithTimeout(v.closed, reviewTimeout)
	defer cancel()
	request := &authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: raw, Audiences: slices.Clone(v.audiences)}}
	answer, err := v.reviews.Create(ctx, request, metav1.CreateOptions{})
	switch {
	case err != nil && v.closed.Err() != nil:
		return nil, token.ErrClosed
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("%w: the API server did not answer within %s: %s", token.ErrUnavailable, reviewTimeout, withoutToken(err.Error(), raw))
	case err != nil:
		return nil, fmt.Errorf("%w: the API server did not review the token: %s", token.ErrUnavailable, withoutToken(err.Error(), raw))
	case answer == nil:
		return nil, fmt.Errorf("%w: the client returned neither a review nor an error", token.ErrUnavailable)
	case !answer.Status.Authenticated && answer.Status.Error == "":
		return nil, fmt.Errorf("%w: the API server did not authenticate it", token.ErrInvalid)
	case !answer.Status.Authenticated:
		return nil, fmt.Errorf("%w: the API server did not authenticate it: %s", token.ErrInvalid, withoutToken(answer.Status.Error, raw))
	}
	// A server or webhook that does not support audiences answers without any. The
	// token may then be for another server.
	audiences := shared(v.audiences, answer.Status.Audiences)
	if len(audiences) == 0 {
		return nil, fmt.Errorf("%w: the API server authenticated it for the audiences %s, want one of %s",
			token.ErrInvalid, some(answer.Status.Audiences), some(v.audiences))
	}
	pod, err := podOf(answer.Status.User)
	if err != nil {
		return nil, fmt.Errorf("%w: the API server authenticated it as user %.64q: %w", token.ErrInvalid, answer.Status.User.Username, err)
	}
	if err := v.checkExpiry(c.expires); err != nil { // it may have expired during the review
		return nil, err
	}
	return &review{validator: v, pod: pod, audiences: audiences, expires: c.expires, id: c.id}, nil
}

const (
	maxTextShown = 512 // bytes
	maxNameShown = 64
)

// withoutToken makes a text from the API server or a proxy before it printable and
// short, and removes the token's signature, in case the text has the token.
func withoutToken(text, raw string) string {
	signature := raw[strings.LastIndexByte(raw, '.')+1:]
	return printable(strings.ReplaceAll(text, signature, "(signature)"), maxTextShown)
}

// printable escapes unprintable characters, and shortens the text.
func printable(text string, limit int) string {
	var b strings.Builder
	for _, char := range text {
		if b.Len() >= limit {
			b.WriteString("...")
			break
		}
		if unicode.IsPrint(char) {
			b.WriteRune(char)
			continue
		}
		quoted := strconv.QuoteRune(char)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}
