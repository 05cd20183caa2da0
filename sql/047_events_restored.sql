-- ============================================
-- File: 047_events_restored.sql
-- Description: Events of a database that was restored into a cluster whose transaction numbers are lower
-- Dependencies: 010_roles.sql; tables event_outbox (migration audit_events) and event_relay (migration relay)
-- ============================================

-- Readers of the outbox go by transaction numbers, and a dump brings those of the cluster that it was made in. Where the new
-- cluster has not reached them, what is written from now on would count as published, and what was waiting would wait until
-- the numbers have caught up. A relay that finds events or places ahead of the cluster calls this (aisha_db::outbox).
--
-- seq goes on where it was: a dump has the sequence too. So it tells the events that came with the dump from those written
-- since, which keep their place behind them. Of the former, those that were published get transaction 0 and those that were
-- not transaction 1, in the order of seq, which a record's events have among themselves; no real transaction has either.
-- Returns whether anything was to be done: of several relays, one does it.
CREATE OR REPLACE FUNCTION events_restored() RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public SET lock_timeout = '5s'
AS $$
DECLARE
    newest bigint;
    last_seq bigint;
BEGIN
    LOCK TABLE event_relay, event_outbox IN ACCESS EXCLUSIVE MODE;
    -- FORCE binds the owner too.
    ALTER TABLE event_relay NO FORCE ROW LEVEL SECURITY;
    ALTER TABLE event_outbox NO FORCE ROW LEVEL SECURITY;
    newest := pg_snapshot_xmax(pg_current_snapshot())::text::bigint;
    SELECT max(seq) INTO last_seq FROM (
        SELECT seq FROM event_relay WHERE transaction_id > newest
        UNION ALL
        SELECT seq FROM event_outbox WHERE transaction_id > newest
    ) AS of_the_dump;
    IF last_seq IS NOT NULL THEN
        UPDATE event_outbox e
        SET transaction_id = CASE WHEN (e.transaction_id, e.seq) > (r.transaction_id, r.seq) THEN 1 ELSE 0 END
        FROM event_relay r WHERE r.shard = e.shard AND e.seq <= last_seq;
        UPDATE event_relay SET transaction_id = 0, seq = 9223372036854775807;
    END IF;
    ALTER TABLE event_relay FORCE ROW LEVEL SECURITY;
    ALTER TABLE event_outbox FORCE ROW LEVEL SECURITY;
    RETURN last_seq IS NOT NULL;
END
$$;

GRANT EXECUTE ON FUNCTION events_restored() TO aisha_system;
