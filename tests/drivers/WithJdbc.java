// pgjdbc. See README.md for what each phase does.

import java.io.StringReader;
import java.io.StringWriter;
import java.sql.Array;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import org.postgresql.Driver;
import org.postgresql.PGConnection;
import org.postgresql.copy.CopyManager;

public class WithJdbc {
    static final int CLIENTS = 8;
    static final int ROUNDS = 25;

    interface Work {
        void run(Connection conn, int who) throws Exception;
    }

    static Connection connect() throws SQLException {
        String url = "jdbc:postgresql://" + System.getenv("PGHOST") + ":" + System.getenv("PGPORT") + "/"
                + System.getenv("PGDATABASE") + "?sslmode=disable&connectTimeout=20";
        return DriverManager.getConnection(url, System.getenv("PGUSER"), System.getenv("PGPASSWORD"));
    }

    static void check(boolean right, Object seen) {
        if (!right) {
            throw new AssertionError(String.valueOf(seen));
        }
    }

    static void startup(Connection conn, int who) throws Exception {
        try (PreparedStatement select = conn.prepareStatement("select ?::int")) {
            select.setInt(1, who);
            ResultSet rows = select.executeQuery();
            check(rows.next() && rows.getInt(1) == who, "select");
        }
    }

    static void plain(Connection conn, int who) throws Exception {
        String text = "insert into visit values (?, ?, ?::mood, ?, ?::jsonb)";
        // From the fifth execution on these are named statements of the server.
        try (PreparedStatement insert = conn.prepareStatement(text);
                PreparedStatement count = conn.prepareStatement("select count(*) from visit where who = ?");
                PreparedStatement select =
                        conn.prepareStatement("select mood, tags, facts from visit where who = ? and round = ?")) {
            for (int round = 0; round < ROUNDS; round++) {
                round(conn, who, round, insert, count, select);
            }
        }
        batch(conn, who);
        copy(conn, who);
        cancel(conn);
        startup(conn, who);
    }

    static void round(Connection conn, int who, int round, PreparedStatement insert, PreparedStatement count,
            PreparedStatement select) throws Exception {
        Array tags = conn.createArrayOf("text", new String[] {"a", "b c"});
        insert.setInt(1, who);
        insert.setInt(2, round);
        insert.setString(3, "happy");
        insert.setArray(4, tags);
        insert.setString(5, "{\"round\": " + round + "}");
        conn.setAutoCommit(false);
        insert.executeUpdate();
        count.setInt(1, who);
        ResultSet counted = count.executeQuery();
        check(counted.next() && counted.getInt(1) == round + 1, "count");
        conn.commit();
        conn.setAutoCommit(true);
        try {
            insert.executeUpdate();
            check(false, "a duplicate was taken");
        } catch (SQLException error) {
            check(error.getSQLState().equals("23505"), error);
        }
        select.setInt(1, who);
        select.setInt(2, round);
        ResultSet seen = select.executeQuery();
        check(seen.next() && seen.getString(1).equals("happy"), "mood");
        check(((String[]) seen.getArray(2).getArray())[1].equals("b c"), "tags");
        check(seen.getString(3).equals("{\"round\": " + round + "}"), seen.getString(3));
    }

    static void batch(Connection conn, int who) throws Exception {
        try (PreparedStatement insert = conn.prepareStatement("insert into bulk values (?, ?, ?)")) {
            for (int number = 0; number < 50; number++) {
                insert.setInt(1, who);
                insert.setInt(2, number);
                insert.setString(3, "batch");
                insert.addBatch();
            }
            insert.executeBatch();
        }
    }

    static void copy(Connection conn, int who) throws Exception {
        CopyManager copies = conn.unwrap(PGConnection.class).getCopyAPI();
        StringBuilder lines = new StringBuilder();
        for (int number = 0; number < 100; number++) {
            lines.append(who).append('\t').append(number).append("\tword\n");
        }
        check(copies.copyIn("copy bulk from stdin", new StringReader(lines.toString())) == 100, "copy in");
        StringWriter out = new StringWriter();
        check(copies.copyOut("copy (select * from bulk where who = " + who + ") to stdout", out) == 150, "copy out");
    }

    static void cancel(Connection conn) throws Exception {
        try (Statement sleep = conn.createStatement()) {
            Thread timer = new Thread(() -> {
                try {
                    Thread.sleep(300);
                    sleep.cancel();
                } catch (Exception error) {
                    error.printStackTrace();
                }
            });
            timer.start();
            try {
                sleep.execute("select pg_sleep(30)");
                check(false, "not cancelled");
            } catch (SQLException error) {
                check(error.getSQLState().equals("57014"), error);
            }
            timer.join();
        }
    }

    /** What pools of Java do between two borrowers, and DISCARD ALL. */
    static void reset(Connection conn, int who) throws Exception {
        for (int round = 0; round < ROUNDS; round++) {
            try (Statement statement = conn.createStatement()) {
                ResultSet timeout = statement.executeQuery("show statement_timeout");
                check(timeout.next() && timeout.getString(1).equals("0"), "statement_timeout");
                statement.execute("set statement_timeout = '20s'");
                startup(conn, who);
                conn.setTransactionIsolation(Connection.TRANSACTION_REPEATABLE_READ);
                conn.setReadOnly(true);
                startup(conn, who);
                conn.setReadOnly(false);
                conn.setTransactionIsolation(Connection.TRANSACTION_READ_COMMITTED);
                conn.clearWarnings();
                check(conn.isValid(20), "isValid");
                statement.execute("discard all");
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        String phase = arguments[0];
        if (phase.equals("version")) {
            System.out.println(org.postgresql.util.DriverInfo.DRIVER_VERSION);
            return;
        }
        Work work = phase.equals("startup") ? WithJdbc::startup : phase.equals("plain") ? WithJdbc::plain : WithJdbc::reset;
        ExecutorService threads = Executors.newFixedThreadPool(CLIENTS);
        List<Connection> connections = new ArrayList<>();
        List<Future<?>> running = new ArrayList<>();
        for (int client = 0; client < CLIENTS; client++) {
            Connection conn = connect();
            int who = client;
            connections.add(conn);
            running.add(threads.submit(() -> {
                work.run(conn, who);
                return null;
            }));
        }
        for (Future<?> one : running) {
            one.get();
        }
        System.out.println("idle");
        System.in.read();
        System.exit(0);
    }
}
