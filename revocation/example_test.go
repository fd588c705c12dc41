package revocation_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/meshpass/meshpass/keystore"
	"github.com/meshpass/meshpass/revocation"
)

// An administrator takes two dataplane tokens of a mesh back, and then changes
// their mind about one.
func Example() {
	ctx, store := context.Background(), keystore.NewMemory()
	ref := revocation.Dataplane("default")

	err := ref.Add(ctx, store, "6baf2c90-0e86-4c62-97a7-7835855834bc", "0b4a1f3e-5d0c-4a4b-8f6e-2f1d3c5b7a99")
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := ref.Remove(ctx, store, "0b4a1f3e-5d0c-4a4b-8f6e-2f1d3c5b7a99"); err != nil {
		fmt.Println(err)
		return
	}

	list, err := ref.Load(ctx, store)
	if err != nil {
		fmt.Println(err) // nothing is known about any token now
		return
	}
	fmt.Println(list.IDs())
	fmt.Println(list.Contains("6baf2c90-0e86-4c62-97a7-7835855834bc"))
	fmt.Println(list.Contains("0b4a1f3e-5d0c-4a4b-8f6e-2f1d3c5b7a99"))
	// Output:
	// [6baf2c90-0e86-4c62-97a7-7835855834bc]
	// true
	// false
}

// A list written by hand: what is readable revokes, and the rest is reported.
func ExampleParse() {
	list, err := revocation.Parse([]byte("id-1, id-2,\r\nid-3,, naïve-id\r\n"))
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(list.IDs())
	for _, problem := range list.Problems() {
		fmt.Println(problem)
	}
	// Output:
	// [id-1 id-2 id-3]
	// item at offset 20: "naïve-id" holds U+00EF, want visible ASCII without a comma
}

// A list in which no id can be read is an error, not a list that revokes nothing.
func ExampleParse_unreadable() {
	_, err := revocation.Parse([]byte("\xff\xfei\x00d\x00-\x001\x00"))
	fmt.Println(errors.Is(err, revocation.ErrUnreadable))
	fmt.Println(err)
	// Output:
	// true
	// revocation: unreadable list: the text is UTF-16 or UTF-32, want UTF-8: save it as UTF-8
}

func ExampleFormat() {
	data, err := revocation.Format([]string{"id-2", "id-1", "id-2"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(data))
	// Output: id-2,id-1
}
