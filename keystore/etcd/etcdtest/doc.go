// Package etcdtest holds the tests of keystore/etcd that need a server: etcd
// itself, embedded in the test. It is a module of its own, so that the server's
// dependencies are not those of the store's users. Nothing imports it.
package etcdtest
