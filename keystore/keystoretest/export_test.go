package keystoretest

import "time"

// SetPatience changes how long the suite waits for what must come: the broken stores
// let it wait in vain.
func SetPatience(patient time.Duration) { patience = patient }
