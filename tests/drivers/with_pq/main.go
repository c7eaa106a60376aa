// lib/pq under database/sql. See ../README.md for what each phase does.
package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"os"
	"reflect"
	"sync"
	"time"

	"github.com/lib/pq"
)

const (
	clients = 8
	rounds  = 25
)

var ctx = context.Background()

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func check(right bool, seen interface{}) {
	if !right {
		log.Fatalf("unexpected: %v", seen)
	}
}

func sqlstate(err error) string {
	var failure *pq.Error
	if errors.As(err, &failure) {
		return string(failure.Code)
	}
	return fmt.Sprint(err)
}

func startup(conn *sql.Conn, who int) {
	var seen int
	must(conn.QueryRowContext(ctx, "select $1::int", who).Scan(&seen))
	check(seen == who, seen)
}

func plain(conn *sql.Conn, who int) {
	insert, err := conn.PrepareContext(ctx, "insert into visit values ($1, $2, $3, $4, $5)")
	must(err)
	for round := 0; round < rounds; round++ {
		tags, facts := []string{"a", "b c"}, fmt.Sprintf(`{"round": %d}`, round)
		row := []interface{}{who, round, "happy", pq.Array(tags), facts}
		tx, err := conn.BeginTx(ctx, nil)
		must(err)
		_, err = tx.Stmt(insert).Exec(row...)
		must(err)
		var count int
		must(tx.QueryRow("select count(*) from visit where who = $1", who).Scan(&count))
		check(count == round+1, count)
		must(tx.Commit())
		_, err = insert.Exec(row...)
		check(sqlstate(err) == "23505", err)
		var mood, seenFacts string
		var seenTags []string
		seen := conn.QueryRowContext(ctx, "select mood, tags, facts from visit where who = $1 and round = $2", who, round)
		must(seen.Scan(&mood, pq.Array(&seenTags), &seenFacts))
		check(mood == "happy" && reflect.DeepEqual(tags, seenTags) && facts == seenFacts, seenFacts)
	}
	must(insert.Close())
	copyIn(conn, who)
	startup(conn, who)
}

func copyIn(conn *sql.Conn, who int) {
	tx, err := conn.BeginTx(ctx, nil)
	must(err)
	copying, err := tx.Prepare(pq.CopyIn("bulk", "who", "n", "word"))
	must(err)
	for number := 0; number < 100; number++ {
		_, err = copying.Exec(who, number, "word")
		must(err)
	}
	_, err = copying.Exec()
	must(err)
	must(copying.Close())
	must(tx.Commit())
	var count int
	must(conn.QueryRowContext(ctx, "select count(*) from bulk where who = $1", who).Scan(&count))
	check(count == 100, count)
}

// The driver closes a connection that was cancelled, but its pool may still hand it out.
func cancel() {
	db, err := sql.Open("postgres", "")
	must(err)
	defer db.Close()
	short, stop := context.WithTimeout(ctx, 300*time.Millisecond)
	defer stop()
	_, err = db.ExecContext(short, "select pg_sleep(30)")
	check(sqlstate(err) == "57014" || errors.Is(err, context.DeadlineExceeded), err)
}

func reset(conn *sql.Conn, who int) {
	for round := 0; round < rounds; round++ {
		var timeout string
		must(conn.QueryRowContext(ctx, "show statement_timeout").Scan(&timeout))
		check(timeout == "0", timeout)
		_, err := conn.ExecContext(ctx, "set statement_timeout = '20s'")
		must(err)
		startup(conn, who)
		_, err = conn.ExecContext(ctx, "discard all")
		must(err)
	}
}

func main() {
	work := map[string]func(*sql.Conn, int){"startup": startup, "plain": plain, "reset": reset}[os.Args[1]]
	db, err := sql.Open("postgres", "")
	must(err)
	db.SetMaxIdleConns(clients)
	var group sync.WaitGroup
	for who := 0; who < clients; who++ {
		conn, err := db.Conn(ctx)
		must(err)
		group.Add(1)
		go func(who int) {
			work(conn, who)
			if os.Args[1] == "plain" {
				cancel()
			}
			group.Done()
		}(who)
	}
	group.Wait()
	fmt.Println("idle")
	fmt.Scanln()
}
