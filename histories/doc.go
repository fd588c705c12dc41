// Package histories holds recorded histories of whole deployments against what the documents
// promise. See README.md.
package histories
