module github.com/meshpass/meshpass/examples

go 1.25.0

replace github.com/meshpass/meshpass => ../
