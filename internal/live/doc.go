// Package live validates tokens and keeps the answer true: the checks on a token in
// their order, the memory of verified tokens, and the contexts that end with them.
// Packages dataplane and zone wrap what it returns in types of their own.
package live
