#ifndef REQUEST_TABLES_H
#define REQUEST_TABLES_H

// The tables of what requests may say, as the files in tables/ have them, by their names without ".txt"; NULL: there is no such table. They live for ever.
const unsigned char *request_table(const char *name, unsigned long *length);

#endif
