// pgx and its pool. See ../README.md for what each phase does.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"
	"reflect"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgconn"
	"github.com/jackc/pgx/v4"
	"github.com/jackc/pgx/v4/pgxpool"
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

func sqlstate(err error) string {
	var failure *pgconn.PgError
	if errors.As(err, &failure) {
		return failure.Code
	}
	return fmt.Sprint(err)
}

func startup(conn *pgxpool.Conn, who int) {
	var seen int
	must(conn.QueryRow(ctx, "select $1::int", who).Scan(&seen))
	check(seen == who, seen)
}

func check(right bool, seen interface{}) {
	if !right {
		log.Fatalf("unexpected: %v", seen)
	}
}

func plain(conn *pgxpool.Conn, who int) {
	const insert = "insert into visit values ($1, $2, $3, $4, $5)"
	for round := 0; round < rounds; round++ {
		tags, facts := []string{"a", "b c"}, map[string]int{"round": round}
		row := []interface{}{who, round, "happy", tags, facts}
		must(conn.BeginFunc(ctx, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, insert, row...); err != nil {
				return err
			}
			var count int
			err := tx.QueryRow(ctx, "select count(*) from visit where who = $1", who).Scan(&count)
			check(err != nil || count == round+1, count)
			return err
		}))
		_, err := conn.Exec(ctx, insert, row...)
		check(sqlstate(err) == "23505", err)
		var mood string
		var seenTags []string
		var seenFacts map[string]int
		seen := conn.QueryRow(ctx, "select mood, tags, facts from visit where who = $1 and round = $2", who, round)
		must(seen.Scan(&mood, &seenTags, &seenFacts))
		check(mood == "happy" && reflect.DeepEqual(tags, seenTags) && reflect.DeepEqual(facts, seenFacts), seenFacts)
		batch(conn, round)
	}
	copies(conn, who)
	cancel(conn)
	startup(conn, who)
}

func batch(conn *pgxpool.Conn, round int) {
	queries := &pgx.Batch{}
	queries.Queue("select $1::int", round)
	queries.Queue("select $1::int", round+1)
	results := conn.SendBatch(ctx, queries)
	for number := round; number < round+2; number++ {
		var seen int
		must(results.QueryRow().Scan(&seen))
		check(seen == number, seen)
	}
	must(results.Close())
}

func copies(conn *pgxpool.Conn, who int) {
	var rows [][]interface{}
	for number := 0; number < 100; number++ {
		rows = append(rows, []interface{}{who, number, "word"})
	}
	copied, err := conn.CopyFrom(ctx, pgx.Identifier{"bulk"}, []string{"who", "n", "word"}, pgx.CopyFromRows(rows))
	must(err)
	check(copied == 100, copied)
	var out strings.Builder
	_, err = conn.Conn().PgConn().CopyTo(ctx, &out, fmt.Sprintf("copy (select * from bulk where who = %d) to stdout", who))
	must(err)
	check(strings.Count(out.String(), "\n") == 100, out.String())
}

// A context that ends closes a connection of pgx, so the request is sent by itself.
func cancel(conn *pgxpool.Conn) {
	time.AfterFunc(300*time.Millisecond, func() { must(conn.Conn().PgConn().CancelRequest(ctx)) })
	_, err := conn.Exec(ctx, "select pg_sleep(30)")
	check(sqlstate(err) == "57014", err)
}

func reset(pool *pgxpool.Pool, who int) {
	for round := 0; round < rounds; round++ {
		conn, err := pool.Acquire(ctx)
		must(err)
		var timeout string
		must(conn.QueryRow(ctx, "show statement_timeout").Scan(&timeout))
		check(timeout == "0", timeout)
		_, err = conn.Exec(ctx, "set statement_timeout = '20s'")
		must(err)
		for turn := 0; turn < 3; turn++ {
			startup(conn, who)
		}
		must(discard(conn))
		conn.Release()
	}
}

// What is in its cache of statements would be gone without its knowing.
func discard(conn *pgxpool.Conn) error {
	if cache := conn.Conn().StatementCache(); cache != nil {
		if err := cache.Clear(ctx); err != nil {
			return err
		}
	}
	_, err := conn.Exec(ctx, "discard all")
	return err
}

func main() {
	phase := os.Args[1]
	config, err := pgxpool.ParseConfig("")
	must(err)
	config.MaxConns, config.MinConns = clients, clients
	pool, err := pgxpool.ConnectConfig(ctx, config)
	must(err)
	var group sync.WaitGroup
	var held []*pgxpool.Conn
	for who := 0; who < clients; who++ {
		group.Add(1)
		if phase == "reset" {
			go func(who int) { reset(pool, who); group.Done() }(who)
			continue
		}
		conn, err := pool.Acquire(ctx)
		must(err)
		held = append(held, conn)
		work := map[string]func(*pgxpool.Conn, int){"startup": startup, "plain": plain}[phase]
		go func(who int) { work(conn, who); group.Done() }(who)
	}
	group.Wait()
	for _, conn := range held {
		conn.Release()
	}
	fmt.Println("idle")
	fmt.Scanln()
}
