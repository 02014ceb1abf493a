/* Numbers with a unit for people: "12.3 uJ". quantity.c */
#ifndef MHO_BASE_QUANTITY_H
#define MHO_BASE_QUANTITY_H

enum { QUANTITY_BYTES = 24 };

/* Three digits and a prefix from f to M before the unit; "-" for what is not known (NAN). Returns `out`. */
const char *quantity(double value, const char *unit, char out[QUANTITY_BYTES]);
/* An area in um2, mm2, cm2 or m2, at most eight characters long: "0.77 mm2", "103 cm2". */
const char *quantity_area(double mm2, char out[QUANTITY_BYTES]);

/* Unit of several numbers that stand side by side, as chosen for one of them: value / factor in `unit`. */
struct scale { double factor; char unit[8]; };
struct scale quantity_scale(double value, const char *unit);
struct scale area_scale(double mm2); /* factor in mm2 */
/* "1.21", "33.5", "10300", "0.00121"; with an exponent only from a million on or below a ten-thousandth. */
const char *three_digits(double value, char out[QUANTITY_BYTES]);

#endif
