package main

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const (
	revokedBefore = "6baf2c90-0e86-4c62-97a7-7835855834bc"
	revokedSince  = "018f3c1e-9d1b-7000-8000-5b7f3f7f0001"
)

func TestRestoreKeepsWhatWasRevokedSinceTheBackup(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("revocations", "add", revokedBefore, "--mesh", "default")
	c.done("backup", "--output", "keys.tar")
	c.done("revocations", "add", revokedSince, "--mesh", "default")
	c.done("revocations", "add", revokedSince, "--zone-tokens")
	c.done("keys", "add", "--mesh", "default")

	r := c.run("restore", "keys.tar")
	require.Equal(t, exitDone, r.status, r.err)
	require.Empty(t, r.out)
	require.Contains(t, r.err, `still revoked, by the list "dataplane-token-revocations-default", though not in the backup: `+revokedSince+"\n")
	require.Contains(t, r.err, `gone: "dataplane-token-signing-key-default-2" of mesh "default", which the backup does not have`)
	require.Contains(t, r.err, "restored 4 records\n")
	require.ElementsMatch(t, []string{revokedBefore, revokedSince}, strings.Fields(c.done("revocations", "list", "--mesh", "default")))
	require.Equal(t, revokedSince+"\n", c.done("revocations", "list", "--zone-tokens"), "also a list that the backup does not have")
}

func TestRestoreForgetsRevocationsOnlyIfAskedAndSaysWhich(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("revocations", "add", revokedBefore, "--mesh", "default")
	c.done("backup", "--output", "keys.tar")
	c.done("revocations", "add", revokedSince, "--mesh", "default")

	r := c.run("restore", "keys.tar", "--forget-revocations")
	require.Equal(t, exitDone, r.status, r.err)
	require.Contains(t, r.err, `valid again, by the list "dataplane-token-revocations-default": `+revokedSince+"\n")
	require.Equal(t, revokedBefore+"\n", c.done("revocations", "list", "--mesh", "default"))
}

func TestRestoreNamesTheKeysThatVerifyAgain(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("keys", "add", "--mesh", "default")
	c.done("backup", "--output", "keys.tar")
	c.done("keys", "remove", "1", "--mesh", "default", "--force")
	r := c.run("restore", "keys.tar")
	require.Equal(t, exitDone, r.status, r.err)
	require.Contains(t, r.err, `back: "dataplane-token-signing-key-default-1" of mesh "default"`)
}

func TestRestoreKeepsTheRevocationsOfAnEncryptedStore(t *testing.T) {
	c := newTool(t)
	c.write("key", strings.Repeat("k", 32))
	encrypted := func(args ...string) []string { return append(args, "--encryption-key-file", "key") }
	c.done(encrypted("keys", "add", "--first", "--mesh", "default")...)
	c.done("backup", "--output", "keys.tar")
	require.NotContains(t, c.read("keys.tar"), "PRIVATE KEY")
	c.done(encrypted("revocations", "add", revokedSince, "--mesh", "default")...)

	require.Contains(t, c.fails(exitFailed, "restore", "keys.tar"), "--encryption-key-file")
	c.done(encrypted("restore", "keys.tar")...)
	require.Equal(t, revokedSince+"\n", c.done(encrypted("revocations", "list", "--mesh", "default")...))
}

func TestRestoreKeepsTheCutoffsAndTheFloorSinceTheBackup(t *testing.T) {
	const (
		earlier = "2026-01-01T10:00:00Z"
		since   = "2026-01-02T10:00:00Z"
	)
	for _, encrypted := range []bool{false, true} {
		for _, forget := range []bool{false, true} {
			c := newTool(t)
			with := func(args ...string) []string { return args }
			if encrypted {
				c.write("key", strings.Repeat("k", 32))
				with = func(args ...string) []string { return append(args, "--encryption-key-file", "key") }
			}
			c.done(with("keys", "add", "--first", "--mesh", "default")...)
			add := func(before string, args ...string) {
				c.done(with(append([]string{"cutoffs", "add", "--before", before, "--yes"}, args...)...)...)
			}
			add(earlier, "--mesh", "default", "--name", "dp-1")
			add(earlier, "--mesh", "default")
			c.done("backup", "--output", "keys.tar")
			add(since, "--mesh", "default")
			add(since, "--zone-tokens", "--zone", "west")
			c.done(with("revocations", "prune", "--mesh", "default", "--lifetime", "24h", "--yes")...)
			list := func(of ...string) (string, string) {
				r := c.run(with(append([]string{"cutoffs", "list"}, of...)...)...)
				require.Equal(t, exitDone, r.status, r.err)
				return r.out, r.err
			}
			mesh, floor := list("--mesh", "default")
			zones, _ := list("--zone-tokens")
			require.Contains(t, floor, "was pruned")

			restore := []string{"restore", "keys.tar"}
			if forget {
				restore = append(restore, "--forget-revocations")
			}
			r := c.run(with(restore...)...)
			require.Equal(t, exitDone, r.status, r.err)
			restored, stillFloor := list("--mesh", "default")
			require.Equal(t, floor, stillFloor, "the ids below it are on no list any more")
			zonesNow, _ := list("--zone-tokens")
			if forget {
				require.Contains(t, r.err, `valid again, by "dataplane-token-cutoffs-default": all tokens issued before `+since)
				require.Contains(t, r.err, `valid again, by "zone-token-cutoffs": tokens with the zone "west" issued before `+since)
				require.NotContains(t, restored, since)
				require.Contains(t, restored, earlier+"  all")
				require.Empty(t, zonesNow)
			} else {
				require.Contains(t, r.err, `still revoked, by "dataplane-token-cutoffs-default", though not in the backup: all tokens issued before `+since)
				require.ElementsMatch(t, strings.Split(mesh, "\n"), strings.Split(restored, "\n"))
				require.Equal(t, zones, zonesNow)
			}
			require.Contains(t, restored, earlier+"  name dp-1")
		}
	}
}

func TestRestoreNamesWhatIsRevokedAgain(t *testing.T) {
	const pruned, other = "0192a000-0000-7000-8000-000000000001", "6baf2c90-0e86-4c62-97a7-7835855834bc" // of version 7, of October 2024, and of version 4
	c := newToolWithKeys(t)
	c.done("revocations", "add", "stays", other, pruned, "--mesh", "default")
	c.done("cutoffs", "add", "--before", "2026-01-01T10:00:00Z", "--mesh", "default", "--name", "dp-1", "--yes")
	c.done("backup", "--output", "keys.tar")
	c.done("revocations", "remove", other, "--mesh", "default")
	c.done("revocations", "prune", "--mesh", "default", "--lifetime", "90d", "--yes")
	c.done("cutoffs", "remove", "--mesh", "default", "--name", "dp-1", "--yes")

	r := c.run("restore", "keys.tar")
	require.Equal(t, exitDone, r.status, r.err)
	require.Contains(t, r.err, `revoked again, by "dataplane-token-cutoffs-default": tokens with the name "dp-1" issued before 2026-01-01T10:00:00Z`+"\n")
	require.Contains(t, r.err, `revoked again, by the list "dataplane-token-revocations-default": `+other+"\n", "and not what was revoked all along")
	require.NotContains(t, c.run("restore", "keys.tar").err, "again")
	require.NoError(t, os.RemoveAll("keys"))
	require.NotContains(t, c.run("restore", "keys.tar").err, "again", "nothing was there")
}

func TestRestoreMakesAStoreWhereThereIsNone(t *testing.T) {
	c := newToolWithKeys(t)
	raw := c.done("generate", "dataplane-token", "--mesh", "default", "--valid-for", "1h")
	c.write("dp.token", raw)
	c.done("backup", "--output", "keys.tar")
	require.NoError(t, os.Rename("keys", "lost"))
	c.done("restore", "keys.tar")
	c.done("inspect", "dp.token")
}

func TestABackupIsForItsOwnerOnlyAndReplacesNoFileUnasked(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("backup", "--output", "keys.tar")
	if runtime.GOOS != "windows" {
		info, err := os.Stat("keys.tar")
		require.NoError(t, err)
		require.Equal(t, "-rw-------", info.Mode().String())
	}
	require.Contains(t, c.fails(exitFailed, "backup", "--output", "keys.tar"), "exists")
	c.done("backup", "--output", "keys.tar", "--overwrite")
	require.NotEmpty(t, c.done("backup"), "on standard output")
}

func TestARestoreThatCannotBeDoneSaysWhyAndChangesNothing(t *testing.T) {
	c := newToolWithKeys(t)
	c.done("backup", "--output", "keys.tar")
	archive := c.read("keys.tar")
	c.write("cut.tar", archive[:len(archive)/2])
	c.write("changed.tar", strings.Replace(archive, "RSA PRIVATE KEY", "RSA PRIVATE CEY", 1))
	c.write("text", "no archive")
	key := filepath.Join("keys", "meshes", "default", "dataplane-token-signing-key-default-1")
	before := c.read(key)

	require.Contains(t, c.fails(exitFailed, "restore", "cut.tar"), "ends too early")
	require.Contains(t, c.fails(exitFailed, "restore", "changed.tar"), "damaged")
	require.Contains(t, c.fails(exitFailed, "restore", "text"), "no Backup has made it")
	require.Contains(t, c.fails(exitFailed, "restore", "missing.tar"), "there is no file")
	require.Contains(t, c.fails(exitUsage, "restore"), "which backup?")
	require.Contains(t, c.fails(exitUsage, "restore", "keys.tar", "--store", "etcd://localhost:2379"), "in a folder")
	require.Contains(t, c.fails(exitUsage, "backup", "--store", "", "--control-plane", "https://localhost"), "cannot back up")
	require.Equal(t, before, c.read(key))
}
