# ruby-pg. See README.md for what each phase does.

require "pg"
require "json"

CLIENTS = 8
ROUNDS = 25
ARRAY = PG::TextEncoder::Array.new
TAGS = PG::TextDecoder::Array.new

def check(right, seen)
  raise "unexpected: #{seen.inspect}" unless right
end

def sqlstate
  yield
  "none"
rescue PG::Error => error
  error.result.error_field(PG::PG_DIAG_SQLSTATE)
end

def startup(conn, who)
  check(conn.exec_params("select $1::int", [who]).getvalue(0, 0).to_i == who, who)
end

def plain(conn, who)
  conn.prepare("insert", "insert into visit values ($1, $2, $3, $4, $5)")
  conn.prepare("count", "select count(*) from visit where who = $1")
  ROUNDS.times do |round|
    row = [who, round, "happy", ARRAY.encode(["a", "b c"]), JSON.generate(round: round)]
    conn.transaction do
      conn.exec_prepared("insert", row)
      count = conn.exec_prepared("count", [who]).getvalue(0, 0).to_i
      check(count == round + 1, count)
    end
    check(sqlstate { conn.exec_prepared("insert", row) } == "23505", "a duplicate was taken")
    seen = conn.exec_params("select mood, tags, facts from visit where who = $1 and round = $2", [who, round]).values[0]
    check([seen[0], TAGS.decode(seen[1]), JSON.parse(seen[2])] == ["happy", ["a", "b c"], { "round" => round }], seen)
  end
  copy(conn, who)
  cancelling = Thread.new { sleep 0.3; conn.cancel }
  check(sqlstate { conn.exec("select pg_sleep(30)") } == "57014", "not cancelled")
  cancelling.join
  startup(conn, who)
end

def copy(conn, who)
  conn.copy_data("copy bulk from stdin") do
    100.times { |number| conn.put_copy_data("#{who}\t#{number}\tword\n") }
  end
  lines = 0
  conn.copy_data("copy (select * from bulk where who = #{who}) to stdout") do
    lines += 1 while conn.get_copy_data
  end
  check(lines == 100, lines)
end

# Active Record resets a connection like this.
def reset(conn, who)
  ROUNDS.times do
    timeout = conn.exec("show statement_timeout").getvalue(0, 0)
    check(timeout == "0", timeout)
    conn.exec("set statement_timeout = '20s'")
    conn.prepare("mine", "select $1::int")
    check(conn.exec_prepared("mine", [who]).getvalue(0, 0).to_i == who, who)
    conn.exec("rollback") unless conn.transaction_status == PG::PQTRANS_IDLE
    conn.exec("discard all")
  end
end

phase = ARGV[0]
if phase == "version"
  puts PG::VERSION
  exit
end
Thread.report_on_exception = false
connections = Array.new(CLIENTS) { PG.connect }
connections.each_with_index.map { |conn, who| Thread.new { send(phase, conn, who) } }.each(&:join)
puts "idle"
$stdout.flush
$stdin.gets
