// Package live validates tokens, remembers verified ones, and binds contexts that
// end with them. Packages dataplane and zone wrap its types in their own.
package live
