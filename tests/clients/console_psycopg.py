"""The console by psycopg, in both protocols and both formats; prints what it sees."""

import psycopg

with psycopg.connect("") as connection:
    for binary in (False, True):
        for prepare in (False, True):
            cursor = connection.cursor(binary=binary)
            cursor.execute("SHOW PINS", prepare=prepare)
            columns = [column.name for column in cursor.description]
            for row in cursor.fetchall():
                pin = dict(zip(columns, row))
                print(pin["reason"], pin["object"], pin["statement"], type(pin["seconds"]).__name__)
    connection.commit()
    try:
        connection.execute("SELECT * FROM pg_class")
    except psycopg.Error as error:
        print(error.sqlstate, error.diag.message_hint)
    connection.rollback()
    print(connection.execute("SELECT 1").fetchone()[0])
