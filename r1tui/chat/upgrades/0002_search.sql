-- The words of titles, questions and answers; not of thinking, which has every word of everything that is near it.
CREATE VIRTUAL TABLE titles USING fts5(
    title, content = 'conversations', content_rowid = 'key', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER titles_added AFTER INSERT ON conversations BEGIN
    INSERT INTO titles (rowid, title) VALUES (new.key, new.title);
END;
CREATE TRIGGER titles_removed AFTER DELETE ON conversations BEGIN
    INSERT INTO titles (titles, rowid, title) VALUES ('delete', old.key, old.title);
END;
CREATE TRIGGER titles_changed AFTER UPDATE OF title ON conversations WHEN old.title <> new.title BEGIN
    INSERT INTO titles (titles, rowid, title) VALUES ('delete', old.key, old.title);
    INSERT INTO titles (rowid, title) VALUES (new.key, new.title);
END;
INSERT INTO titles (titles) VALUES ('rebuild');

CREATE VIRTUAL TABLE words USING fts5(
    question, answer, content = 'exchanges', content_rowid = 'key', tokenize = 'unicode61 remove_diacritics 2'
);
CREATE TRIGGER words_added AFTER INSERT ON exchanges BEGIN
    INSERT INTO words (rowid, question, answer) VALUES (new.key, new.question, new.answer);
END;
CREATE TRIGGER words_removed AFTER DELETE ON exchanges BEGIN
    INSERT INTO words (words, rowid, question, answer) VALUES ('delete', old.key, old.question, old.answer);
END;
CREATE TRIGGER words_changed AFTER UPDATE OF question, answer ON exchanges
WHEN old.question <> new.question OR old.answer <> new.answer BEGIN
    INSERT INTO words (words, rowid, question, answer) VALUES ('delete', old.key, old.question, old.answer);
    INSERT INTO words (rowid, question, answer) VALUES (new.key, new.question, new.answer);
END;
INSERT INTO words (words) VALUES ('rebuild');
