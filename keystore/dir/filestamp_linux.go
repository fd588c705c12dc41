package dir

import (
	"syscall"
	"time"
)

func changedAt(stat *syscall.Stat_t) time.Time { return time.Unix(stat.Ctim.Unix()) }
