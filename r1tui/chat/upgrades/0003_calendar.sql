-- How long r1tui has been in use, for what goes for good after a time: a clock that jumps must not purge anything. It is
-- told at each start from the clock, but never by more than a few days at once.
CREATE TABLE calendar (
    wall_s REAL NOT NULL,  -- the clock when it was last told; 0: never
    own_s REAL NOT NULL    -- the time in use until then
);
INSERT INTO calendar VALUES (0, 0);
ALTER TABLE conversations ADD COLUMN deleted_own_s REAL;  -- when it was deleted by this calendar; NULL: not known yet
