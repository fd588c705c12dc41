package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/token"
	"go/types"
	"slices"
	"strings"
)

// mutant is one way to break the code.
type mutant struct {
	id   int    // from 1
	key  string // file, function, operator and source text: what a line of the list of equivalents names
	pkg  string // folder of the package
	file string // relative to the module
	fn   string // the function, with its receiver
	line int
	from string // the code
	to   string // what becomes of it
	moot bool   // nobody looks at what is returned beside an error
}

// edit is a change of a source file at an offset. Those of one node enclose those of
// the nodes in it.
type edit struct {
	mutant int
	at     int
	text   string
	drop   int  // how many bytes of the source go
	closes bool // belongs to the end of a node
	extent int  // size of the node
}

// finder finds the mutants of a file.
type finder struct {
	fset    *token.FileSet
	info    *types.Info
	pkg     *types.Package
	file    *ast.File
	name    string // of the file
	folder  string
	src     []byte
	stack   []ast.Node
	next    int // id of the next mutant
	seen    map[string]int
	mutants []*mutant
	edits   []edit
}

func (f *finder) offset(p token.Pos) int { return f.fset.PositionFor(p, false).Offset }

func (f *finder) text(n ast.Node) string { return string(f.src[f.offset(n.Pos()):f.offset(n.End())]) }

// add makes a mutant of a node. What is written before and after the node has the id for %d.
func (f *finder) add(n ast.Node, operator, to, before, after string) int {
	id := f.next
	f.next++
	from := strings.Join(strings.Fields(f.text(n)), " ")
	if short := []rune(from); len(short) > 120 {
		from = string(short[:120]) + "…"
	}
	m := &mutant{id: id, pkg: f.folder, file: f.name, fn: f.function(), line: f.fset.Position(n.Pos()).Line, from: from, to: to}
	m.key = fmt.Sprintf("%s | %s | %s | %s", m.file, m.fn, operator, from)
	f.seen[m.key]++
	if number := f.seen[m.key]; number > 1 {
		m.key += fmt.Sprintf(" | %d", number)
	}
	f.mutants = append(f.mutants, m)
	begin, end := f.offset(n.Pos()), f.offset(n.End())
	if before != "" {
		f.edits = append(f.edits, edit{mutant: id, at: begin, text: strings.ReplaceAll(before, "%d", fmt.Sprint(id)), extent: end - begin})
	}
	if after != "" {
		f.edits = append(f.edits, edit{mutant: id, at: end, text: after, closes: true, extent: end - begin})
	}
	return id
}

// replace replaces the operator of a binary expression that became a call.
func (f *finder) replace(id int, at token.Pos, old, text string) {
	f.edits = append(f.edits, edit{mutant: id, at: f.offset(at), text: text, drop: len(old)})
}

// function names the function or the variable that the walk is in.
func (f *finder) function() string {
	for _, n := range f.stack {
		switch n := n.(type) {
		case *ast.FuncDecl:
			if n.Recv == nil {
				return n.Name.Name
			}
			kind := strings.TrimLeft(f.text(n.Recv.List[0].Type), "*")
			kind, _, _ = strings.Cut(kind, "[")
			return kind + "." + n.Name.Name
		case *ast.ValueSpec:
			return n.Names[0].Name
		}
	}
	return "?"
}

func (f *finder) find() {
	for _, decl := range f.file.Decls {
		switch decl := decl.(type) {
		case *ast.FuncDecl:
			if decl.Body == nil {
				continue
			}
		case *ast.GenDecl:
			if decl.Tok != token.VAR {
				continue
			}
		}
		ast.Inspect(decl, func(n ast.Node) bool {
			if n == nil {
				f.stack = f.stack[:len(f.stack)-1]
				return true
			}
			f.stack = append(f.stack, n)
			if !f.visit(n) {
				f.stack = f.stack[:len(f.stack)-1]
				return false
			}
			return true
		})
	}
}

func (f *finder) parent(level int) ast.Node {
	if at := len(f.stack) - 1 - level; at >= 0 {
		return f.stack[at]
	}
	return nil
}

// visit makes the mutants of a node, and tells whether to look into it.
func (f *finder) visit(n ast.Node) bool {
	switch n := n.(type) {
	case *ast.FuncType, *ast.FieldList, *ast.ArrayType, *ast.MapType, *ast.StructType, *ast.InterfaceType, *ast.TypeSpec:
		return false
	case *ast.ImportSpec, *ast.CommentGroup:
		return false
	case *ast.GenDecl:
		return n.Tok == token.VAR
	case ast.Stmt:
		f.statement(n)
		return true
	case ast.Expr:
		return f.expression(n)
	}
	return true
}

// statement makes the mutants that leave a statement out, or return something else.
func (f *finder) statement(n ast.Stmt) {
	switch f.parent(1).(type) {
	case *ast.BlockStmt, *ast.CaseClause, *ast.CommClause:
	default:
		return // the beginning of an if, or a statement with a label
	}
	if clause, ok := f.parent(1).(*ast.CommClause); ok && clause.Comm == n {
		return
	}
	without := func(operator string) { f.add(n, operator, "nothing", "if !mutateOn(%d) { ", " }") }
	switch n := n.(type) {
	case *ast.AssignStmt:
		if n.Tok != token.DEFINE && !allBlank(n.Lhs) {
			without("no assignment")
		}
	case *ast.IncDecStmt:
		without("no assignment")
	case *ast.ExprStmt:
		if call, ok := n.X.(*ast.CallExpr); ok {
			switch name := calleeName(call); name {
			case "Lock", "Unlock", "RLock", "RUnlock", "panic":
				// Without one of a pair the next call panics or hangs, and without a panic it may not compile.
			default:
				without("no call")
			}
			return
		}
		without("no statement")
	case *ast.SendStmt, *ast.GoStmt:
		without("no statement")
	case *ast.DeferStmt:
		switch calleeName(n.Call) {
		case "Unlock", "RUnlock":
		default:
			without("no defer")
		}
	case *ast.BranchStmt:
		if n.Tok == token.BREAK || n.Tok == token.CONTINUE {
			without("no " + n.Tok.String())
		}
	case *ast.ReturnStmt:
		f.returns(n)
	}
}

func allBlank(all []ast.Expr) bool {
	return !slices.ContainsFunc(all, func(e ast.Expr) bool {
		name, ok := e.(*ast.Ident)
		return !ok || name.Name != "_"
	})
}

func calleeName(call *ast.CallExpr) string {
	switch fun := ast.Unparen(call.Fun).(type) {
	case *ast.Ident:
		return fun.Name
	case *ast.SelectorExpr:
		return fun.Sel.Name
	}
	return ""
}

// returns makes the mutants that return the zero value, or no error, for one result.
func (f *finder) returns(n *ast.ReturnStmt) {
	var results []string // their types
	for level := 1; ; level++ {
		var list *ast.FieldList
		switch fn := f.parent(level).(type) {
		case nil:
			return
		case *ast.FuncDecl:
			list = fn.Type.Results
		case *ast.FuncLit:
			list = fn.Type.Results
		default:
			continue
		}
		if list == nil {
			return
		}
		for _, field := range list.List {
			for range max(1, len(field.Names)) {
				results = append(results, f.text(field.Type))
			}
		}
		break
	}
	instead := func(operator string, values []string) {
		text := strings.Join(values, ", ")
		f.add(n, operator, "return "+text, "if mutateOn(%d) { return "+text+" }; ", "")
	}
	if len(n.Results) == 1 && len(results) > 1 {
		var zeros []string
		for _, kind := range results {
			zeros = append(zeros, "*new("+kind+")")
		}
		instead("return zero values", zeros)
		return
	}
	if len(n.Results) != len(results) {
		return
	}
	for i, result := range n.Results {
		tv := f.info.Types[result]
		if tv.IsNil() || tv.Value != nil && isZero(tv.Value) || isBoolean(tv.Type) || isEmptyLiteral(result) {
			continue
		}
		var values []string
		for j, other := range n.Results {
			if j == i {
				values = append(values, "*new("+results[i]+")")
			} else {
				values = append(values, f.text(other))
			}
		}
		operator := "return zero"
		if results[i] == "error" {
			operator = "return no error"
			values[i] = "nil"
		}
		if len(results) > 1 {
			operator += fmt.Sprintf(" for result %d", i+1)
		}
		instead(operator, values)
	}
}

func isZero(v constant.Value) bool {
	switch v.Kind() {
	case constant.Int, constant.Float:
		return constant.Sign(v) == 0
	case constant.String:
		return constant.StringVal(v) == ""
	}
	return false
}

func isEmptyLiteral(e ast.Expr) bool {
	literal, ok := e.(*ast.CompositeLit)
	return ok && len(literal.Elts) == 0
}

func isBoolean(t types.Type) bool {
	if t == nil {
		return false
	}
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsBoolean != 0
}

func isNumber(t types.Type) bool {
	if t == nil {
		return false
	}
	basic, ok := t.Underlying().(*types.Basic)
	return ok && basic.Info()&types.IsNumeric != 0
}

func isDuration(t types.Type) bool { return t != nil && t.String() == "time.Duration" }

// operators tells for arithmetic what takes its place. Comparisons are in boundaries.
var operators = map[token.Token]token.Token{
	token.ADD: token.SUB, token.SUB: token.ADD, token.MUL: token.QUO, token.QUO: token.MUL, token.REM: token.MUL,
	token.AND: token.OR, token.OR: token.AND, token.SHL: token.SHR, token.SHR: token.SHL,
}

var boundaries = map[token.Token]token.Token{token.LSS: token.LEQ, token.LEQ: token.LSS, token.GTR: token.GEQ, token.GEQ: token.GTR}

var names = map[token.Token]string{
	token.ADD: "Add", token.SUB: "Sub", token.MUL: "Mul", token.QUO: "Quo", token.REM: "Rem",
	token.AND: "And", token.OR: "Or", token.SHL: "Shl", token.SHR: "Shr",
	token.LSS: "Less", token.LEQ: "LessEqual", token.GTR: "Greater", token.GEQ: "GreaterEqual",
}

// expression makes the mutants of an expression, and tells whether to look into it.
func (f *finder) expression(n ast.Expr) bool {
	tv := f.info.Types[n]
	if tv.IsType() {
		return false
	}
	if tv.Value != nil {
		f.constant(n, tv)
		return false
	}
	switch n := n.(type) {
	case *ast.FuncLit:
		return true
	case *ast.CompositeLit:
		return true
	case *ast.BinaryExpr:
		f.binary(n)
		return true
	case *ast.CallExpr:
		if f.isMessage(n) {
			return false
		}
		f.call(n)
	}
	if kv, ok := f.parent(1).(*ast.KeyValueExpr); ok && kv.Value == n && f.isStruct(f.parent(2)) && !tv.IsNil() && tv.Type != nil {
		if kind, ok := f.typeName(f.info.ObjectOf(kv.Key.(*ast.Ident)).Type()); ok {
			f.add(n, "zero for "+kv.Key.(*ast.Ident).Name, "the zero value", "mutateZero["+kind+"](%d, ", ")")
		}
	}
	if isBoolean(tv.Type) && f.decides(n) {
		f.add(n, "negate", "!("+f.text(n)+")", "mutateNot(%d, ", ")")
	}
	return true
}

// decides tells whether a boolean is a condition or a part of one, or is returned.
func (f *finder) decides(n ast.Expr) bool {
	switch n := n.(type) {
	case *ast.ParenExpr:
		return false
	case *ast.UnaryExpr:
		if n.Op == token.NOT {
			return false // its operand does
		}
	}
	level := 1
	for {
		if _, ok := f.parent(level).(*ast.ParenExpr); !ok {
			break
		}
		level++
	}
	switch p := f.parent(level).(type) {
	case *ast.BinaryExpr:
		return p.Op == token.LAND || p.Op == token.LOR
	case *ast.UnaryExpr:
		return p.Op == token.NOT
	case *ast.IfStmt:
		return p.Cond == f.parent(level-1)
	case *ast.ForStmt:
		return p.Cond == f.parent(level-1)
	case *ast.ReturnStmt:
		return true
	case *ast.AssignStmt:
		return len(p.Lhs) == len(p.Rhs) && slices.Contains(p.Rhs, f.parent(level-1).(ast.Expr))
	case *ast.CaseClause:
		s, ok := f.parent(level + 2).(*ast.SwitchStmt)
		return ok && s.Tag == nil
	}
	return false
}

func (f *finder) isStruct(n ast.Node) bool {
	literal, ok := n.(*ast.CompositeLit)
	if !ok {
		return false
	}
	t := f.info.TypeOf(literal)
	if pointer, ok := t.Underlying().(*types.Pointer); ok {
		t = pointer.Elem()
	}
	_, ok = t.Underlying().(*types.Struct)
	return ok
}

// isMessage tells whether a call makes a text for people: what it says is not broken.
func (f *finder) isMessage(n *ast.CallExpr) bool {
	if fun, ok := n.Fun.(*ast.SelectorExpr); ok {
		if name, ok := fun.X.(*ast.Ident); ok {
			if pkg, ok := f.info.Uses[name].(*types.PkgName); ok {
				return pkg.Imported().Path() == "fmt" || pkg.Imported().Path() == "errors" || pkg.Imported().Path() == "log/slog"
			}
		}
		if t := f.info.TypeOf(fun.X); t != nil && t.String() == "*log/slog.Logger" {
			return true
		}
	}
	return calleeName(n) == "panic"
}

// typeName spells a type as this file can.
func (f *finder) typeName(t types.Type) (string, bool) {
	good := true
	text := types.TypeString(t, func(pkg *types.Package) string {
		if pkg == f.pkg {
			return ""
		}
		for _, spec := range f.file.Imports {
			if strings.Trim(spec.Path.Value, `"`) == pkg.Path() {
				if spec.Name != nil {
					return spec.Name.Name
				}
				return pkg.Name()
			}
		}
		good = false
		return ""
	})
	return text, good
}

// constant makes the mutants of a constant expression.
func (f *finder) constant(n ast.Expr, tv types.TypeAndValue) {
	var isCase, isCompared, isArgument bool
	switch p := f.parent(1).(type) {
	case *ast.KeyValueExpr:
		if p.Key == n && (f.isStruct(f.parent(2)) || !f.isMap(f.parent(2))) {
			return
		}
		isCompared = p.Key == n
	case *ast.CaseClause:
		isCase = true
	case *ast.BinaryExpr:
		isCompared = p.Op == token.EQL || p.Op == token.NEQ
	case *ast.IndexExpr:
		isCompared = p.Index == n
	case *ast.CallExpr:
		if p.Fun == n || calleeName(p) == "make" && p.Args[len(p.Args)-1] == n {
			return // a capacity is nobody's business
		}
		if fun, ok := p.Fun.(*ast.SelectorExpr); ok {
			if name, ok := fun.X.(*ast.Ident); ok {
				isArgument = name.Name == "strings" || name.Name == "bytes"
			}
		}
	case *ast.CompositeLit:
		isArgument = true
	}
	t := tv.Type
	if basic, ok := t.(*types.Basic); ok && basic.Info()&types.IsUntyped != 0 {
		t = types.Default(t)
	}
	kind, ok := f.typeName(t)
	if !ok {
		return
	}
	if f.isBesideAnError() {
		before := len(f.mutants)
		defer func() {
			for _, m := range f.mutants[before:] {
				m.moot = true
			}
		}()
	}
	switch {
	case isDuration(t) && !isZero(tv.Value):
		f.add(n, "twice the time", "2*("+f.text(n)+")", "mutateTwice[time.Duration](%d, ", ")")
		f.add(n, "half the time", "("+f.text(n)+")/2", "mutateHalf[time.Duration](%d, ", ")")
	case isBoolean(t):
		f.add(n, "negate", "!"+f.text(n), "mutateNot["+kind+"](%d, ", ")")
	case isNumber(t):
		f.add(n, "one more", f.text(n)+" + 1", "mutateMore["+kind+"](%d, ", ")")
		if constant.Sign(tv.Value) > 0 && !isCase {
			f.add(n, "one less", f.text(n)+" - 1", "mutateFewer["+kind+"](%d, ", ")")
		}
	case tv.Value.Kind() == constant.String && (isCase || isCompared || isArgument):
		f.add(n, "another text", f.text(n)+` + "\x00"`, "mutateText["+kind+"](%d, ", ")")
	}
}

// isBesideAnError tells whether a result is returned together with an error.
func (f *finder) isBesideAnError() bool {
	all, ok := f.parent(1).(*ast.ReturnStmt)
	if !ok || len(all.Results) < 2 {
		return false
	}
	last := all.Results[len(all.Results)-1]
	return last != f.parent(0) && !f.info.Types[last].IsNil() && f.info.TypeOf(last).String() == "error"
}

func (f *finder) isMap(n ast.Node) bool {
	literal, ok := n.(*ast.CompositeLit)
	if !ok {
		return false
	}
	_, ok = f.info.TypeOf(literal).Underlying().(*types.Map)
	return ok
}

func (f *finder) binary(n *ast.BinaryExpr) {
	operator := n.Op.String()
	switch n.Op {
	case token.LAND, token.LOR:
		other, name := "||", "mutateBoth"
		if n.Op == token.LOR {
			other, name = "&&", "mutateEither"
		}
		id := f.add(n, operator+" to "+other, f.text(n.X)+" "+other+" "+f.text(n.Y), name+"(%d, ", ") })")
		f.replace(id, n.OpPos, operator, ", func() bool { return (")
		return
	case token.EQL, token.NEQ:
		f.add(n, "negate", "!("+f.text(n)+")", "mutateNot(%d, ", ")")
		return
	}
	if other, ok := boundaries[n.Op]; ok {
		f.add(n, "negate", "!("+f.text(n)+")", "mutateNot(%d, ", ")")
		id := f.add(n, operator+" to "+other.String(), f.text(n.X)+" "+other.String()+" "+f.text(n.Y), "mutate"+names[n.Op]+"(%d, ", ")")
		f.replace(id, n.OpPos, operator, ", ")
		return
	}
	if other, ok := operators[n.Op]; ok && isNumber(f.info.TypeOf(n)) {
		id := f.add(n, operator+" to "+other.String(), f.text(n.X)+" "+other.String()+" "+f.text(n.Y), "mutate"+names[n.Op]+"(%d, ", ")")
		f.replace(id, n.OpPos, operator, ", ")
	}
}

func (f *finder) call(n *ast.CallExpr) {
	fun, isMethod := n.Fun.(*ast.SelectorExpr)
	if isMethod && len(n.Args) == 1 && (fun.Sel.Name == "Before" || fun.Sel.Name == "After") {
		if t := f.info.TypeOf(fun.X); t != nil && t.String() == "time.Time" {
			x, y := f.text(fun.X), f.text(n.Args[0])
			f.add(n, fun.Sel.Name+" or equal", x+" "+fun.Sel.Name+" or equal "+y, "mutateOrEqual(%d, "+x+", "+y+", ", ")")
		}
	}
	if name, ok := n.Fun.(*ast.Ident); ok && len(n.Args) == 2 && (name.Name == "min" || name.Name == "max") && f.info.Uses[name].Pkg() == nil {
		other, hook := "max", "mutateMin"
		if name.Name == "max" {
			other, hook = "min", "mutateMax"
		}
		id := f.add(n, name.Name+" to "+other, other+strings.TrimPrefix(f.text(n), name.Name), hook+"(%d, ", "")
		f.replace(id, n.Lparen, "(", "")
		f.edits[len(f.edits)-1].at = f.offset(name.Pos())
		f.edits[len(f.edits)-1].drop = f.offset(n.Lparen) + 1 - f.offset(name.Pos())
		return
	}
	for i := 0; i+1 < len(n.Args); i++ {
		x, y := n.Args[i], n.Args[i+1]
		tx, ty := f.info.Types[x], f.info.Types[y]
		if tx.Type == nil || ty.Type == nil || tx.IsType() || ty.IsType() || tx.Value != nil && ty.Value != nil ||
			!types.Identical(tx.Type, ty.Type) || f.text(x) == f.text(y) || !isPure(x) || !isPure(y) || tx.IsNil() || ty.IsNil() {
			continue
		}
		kind, ok := f.typeName(tx.Type)
		if !ok {
			continue
		}
		// One mutant with two places: both look at the same id.
		id := f.add(x, "swap with the next argument", f.text(y)+", "+f.text(x), "mutateOther["+kind+"](%d, "+f.text(y)+", ", ")")
		begin, end := f.offset(y.Pos()), f.offset(y.End())
		f.edits = append(f.edits,
			edit{mutant: id, at: begin, text: fmt.Sprintf("mutateOther[%s](%d, %s, ", kind, id, f.text(x)), extent: end - begin},
			edit{mutant: id, at: end, text: ")", closes: true, extent: end - begin})
	}
}

// isPure tells whether an expression can be evaluated twice, or without need.
func isPure(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident, *ast.BasicLit:
		return true
	case *ast.SelectorExpr:
		_, ok := e.X.(*ast.Ident)
		return ok
	}
	return false
}
