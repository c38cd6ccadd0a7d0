-- Empty tables for the next cell. The bare table takes its columns, collations,
-- constraints and indexes from the event table; its position is an ordinary
-- sequence's and its time an ordinary default, as one would write it by hand.
DROP TABLE IF EXISTS bare;
SET evstore.maintenance = on;
SELECT evstore.drop_event_table(to_regclass('events')) \g /dev/null
SELECT evstore.create_event_table('events') \g /dev/null
RESET evstore.maintenance;
CREATE TABLE bare (LIKE events INCLUDING ALL);
CREATE SEQUENCE bare_position OWNED BY bare.position;
ALTER TABLE bare
	ALTER position SET DEFAULT nextval('bare_position'),
	ALTER recorded_at SET DEFAULT now(),
	ALTER schema_version SET DEFAULT 1;
