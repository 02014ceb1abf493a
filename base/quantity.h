/* Numbers with a unit for people: "12.3 uJ". quantity.c */
#ifndef MHO_BASE_QUANTITY_H
#define MHO_BASE_QUANTITY_H

enum { QUANTITY_BYTES = 24 };

/* Three digits and a prefix from f to M before the unit; "-" for what is not known (NAN). Returns `out`. */
const char *quantity(double value, const char *unit, char out[QUANTITY_BYTES]);

#endif
