-- A SELECT of a client that, begun with -D done=0, has three settings of its own.
\if :done = 0
\set mem 4096 + :client_id
\set patience 600000 + :client_id
\set wait 500000 + :client_id
SET work_mem = :mem;
SET statement_timeout = :patience;
SET lock_timeout = :wait;
\set done 1
\endif
\set aid random(1, 100000 * :scale)
SELECT abalance FROM pgbench_accounts WHERE aid = :aid;
