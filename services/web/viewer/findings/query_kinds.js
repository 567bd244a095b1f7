// What can lie at a place of a slide, as the worker names it to the page.

export const FINDING = "finding";
export const DENSITY = "density";
export const HEAT = "heat";
