package torture

// ends stops the target, and the old primary in any case.
func (g *generator) ends() {
	if g.target == aheadNode {
		g.aheadEnds()
		return
	}
	if !g.running && g.chance(20) {
		g.trait("twin") // promotes itself, to the leader's timeline number
		g.add(Step{Op: OpStop, Node: oldNode, With: choose(g, "fast", "immediate")}, Step{Op: OpAlone, Node: oldNode}, Step{Op: OpStart, Node: oldNode},
			Step{Op: OpPromote, Node: oldNode}, g.work(oldNode, 2, 10))
	}
	end := choose(g, "fast", "immediate", "kill", "kill")
	if end == "kill" && !g.running && g.chance(60) {
		g.running = true
		g.add(Step{Op: OpLoad, Node: oldNode, Seed: g.seed(), Count: g.between(1, 3)}, Step{Op: OpAwait, Node: oldNode, Count: g.between(1, 15)})
	}
	g.trait("end=%s", end)
	if end == "kill" {
		g.add(Step{Op: OpKill, Node: oldNode})
	} else {
		g.add(Step{Op: OpStop, Node: oldNode, With: end})
	}
	if g.running {
		g.add(Step{Op: OpQuiet, Node: oldNode})
	}
}

func (g *generator) aheadEnds() {
	if g.received {
		g.add(Step{Op: OpReceive, Node: aheadNode, With: oldNode})
	} else if g.hints || g.chance(80) {
		if g.hints || g.chance(60) {
			g.add(Step{Op: OpExec, Node: oldNode, With: firstDB, SQL: moveRecoveryPoint()})
		}
		g.add(Step{Op: OpCatchup, Node: aheadNode, With: oldNode})
	}
	if g.hints || g.chance(60) {
		g.add(Step{Op: OpLook, Node: aheadNode})
	}
	if g.chance(25) {
		g.add(Step{Op: OpCheckpoint, Node: aheadNode})
	}
	end := choose(g, "fast", "fast", "immediate", "kill")
	g.trait("end=%s", end)
	if end == "kill" {
		g.add(Step{Op: OpKill, Node: aheadNode})
	} else {
		g.add(Step{Op: OpStop, Node: aheadNode, With: end})
	}
	g.add(Step{Op: OpStop, Node: oldNode, With: "immediate"})
}

// moveRecoveryPoint lets standbys set hints about everything that was committed
// before: not before their minimum recovery point covers a commit do they, and
// the commits of 32 transactions that follow each other. Dropping a table moves it.
func moveRecoveryPoint() []string {
	sql := make([]string, 0, 36)
	for range 34 {
		sql = append(sql, "SELECT txid_current()")
	}
	return append(sql, "CREATE TABLE s.moved (i int)", "DROP TABLE s.moved")
}

// comeBack rewinds, and compares.
func (g *generator) comeBack() {
	leader := leaderNode
	interrupted := g.chance(25)
	rejoin := Step{Op: OpRejoin, Node: g.target, With: leader}
	if g.second != "" {
		g.add(Step{Op: OpFollow, Node: secondNode, With: leaderNode}, Step{Op: OpStart, Node: secondNode}, Step{Op: OpCatchup, Node: secondNode, With: leaderNode})
	}
	switch {
	case g.second == "source":
		g.trait("source=standby")
		rejoin.From = secondNode
		if g.chance(40) {
			g.add(Step{Op: OpPause, Node: secondNode}, g.work(leaderNode, 2, 10))
		}
	case g.chance(12):
		g.trait("source=dir")
		rejoin.From = fromDir
	default:
		g.trait("source=leader")
	}
	if interrupted {
		g.trait("interrupted")
		for range g.between(1, 2) {
			broken := rejoin
			broken.Op, broken.Count = OpInterrupt, choose(g, g.between(1, 15), g.between(10, 80), g.between(40, 300))
			g.add(broken, g.work(leaderNode, 1, 10))
		}
	}
	if g.second == "leader" {
		leader = g.failOver()
		rejoin.With, rejoin.From = leader, ""
	}
	if rejoin.From == "" && g.chance(40) {
		g.trait("loaded")
		g.add(Step{Op: OpLoad, Node: leader, Seed: g.seed(), Count: g.between(1, 2)}, rejoin,
			Step{Op: OpAwait, Node: leader, Count: g.between(1, 10)}, Step{Op: OpQuiet, Node: leader})
	} else {
		g.add(rejoin)
	}
	g.settle(leader)
	g.add(Step{Op: OpCheck, Node: g.target, With: leader})
	final := g.target
	if leader == secondNode { // the first leader comes back as well
		g.add(Step{Op: OpRejoin, Node: leaderNode, With: leader}, Step{Op: OpCheck, Node: leaderNode, With: leader})
		final = choose(g, g.target, leaderNode)
	}
	g.add(Step{Op: OpFinal, Node: final, With: leader})
}

// settle ends prepared transactions where others were in progress at a fork. Of
// those a standby learns the end only when no older one is running, and so a
// prepared one makes it keep their exclusive locks: nobody could read there.
func (g *generator) settle(leader string) {
	if g.torn || g.chance(30) {
		g.add(Step{Op: OpSettle, Node: leader}, Step{Op: OpCheckpoint, Node: leader})
	}
}

// failOver promotes the second standby.
func (g *generator) failOver() string {
	g.trait("failovers=2")
	switch g.rng.IntN(3) {
	case 0: // it has everything
		g.add(Step{Op: OpStop, Node: leaderNode, With: "fast"})
	case 1:
		g.add(Step{Op: OpCut, Node: secondNode}, g.work(leaderNode, 2, 10), Step{Op: OpStop, Node: leaderNode, With: choose(g, "fast", "immediate")})
	case 2:
		g.torn = true
		g.add(Step{Op: OpLoad, Node: leaderNode, Seed: g.seed(), Count: 2}, Step{Op: OpAwait, Node: leaderNode, Count: g.between(1, 10)},
			Step{Op: OpKill, Node: leaderNode}, Step{Op: OpQuiet, Node: leaderNode})
	}
	g.add(Step{Op: OpPromote, Node: secondNode}, g.work(secondNode, 2, 15))
	if g.chance(60) {
		g.add(Step{Op: OpCheckpoint, Node: secondNode})
	}
	return secondNode
}
